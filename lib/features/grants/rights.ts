/** What a token allows in a topic. */
import type { Action, TopicAt } from '../../core/topics/topic.ts'
import { endOf, type Claims } from './claims.ts'
import type { Grant } from './grant.ts'

// Threat: names are compared only for equality. With prefixes or wildcards, "rooms*" would reach "rooms-secret/1". A
// name is never the text of a pattern with params, because ":" and "*" are encoded in names.
/** Undefined if the token does not name the topic, by its full name or by the text of its pattern. */
export function rightIn ({ realtime = {}, ...claims }: Claims, at: TopicAt, action: Action): Grant | undefined {
  // The right to subscribe includes presence.
  const { subscribe, publish, info } = realtime
  const names = (action === 'publish' ? publish : subscribe) ?? []
  if (!names.includes(at.name) && !names.includes(at.topic.pattern)) return undefined
  return { expiresAt: endOf(claims), ...(info !== undefined && { info }) }
}
