/** What a token allows in a topic. */
import type { Action, TopicAt } from '../../core/topics/topic.ts'
import { endOf, type Claims } from './claims.ts'
import type { Grant } from './grant.ts'

// Threat: nothing but equality. A prefix or a wildcard of the token's own would reach "rooms-secret/1" from "rooms*".
// No name of a topic is the text of a pattern with params: ":" and "*" are encoded in names.
/** Undefined where it does not name the topic: by its full name, or by the text of its pattern. */
export function rightIn ({ realtime = {}, ...claims }: Claims, at: TopicAt, action: Action): Grant | undefined {
  // Who may hear a topic may be seen in it.
  const { subscribe, publish, info } = realtime
  const names = (action === 'publish' ? publish : subscribe) ?? []
  if (!names.includes(at.name) && !names.includes(at.topic.pattern)) return undefined
  return { expiresAt: endOf(claims), ...(info !== undefined && { info }) }
}
