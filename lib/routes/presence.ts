/** Who a client is in the topics that it comes for: shown and seeing, seeing alone, or neither. */
import type { Connection } from '../core/connection/connection.ts'
import { isPublishKey } from '../core/event-name.ts'
import { jsonOf } from '../core/payload.ts'
import type { TopicAt } from '../core/topics/topic.ts'
import type { PresencePolicy } from '../features/presence/policy.ts'
import type { Presence } from '../features/presence/presence.ts'
import { Forbidden, MemberInvalid } from '../errors.ts'
import { UNLIMITED, type Grant } from '../features/grants/grant.ts'
import { authorize, type Asking } from './authorize.ts'

/** What a route makes of its clients, or a client asks for. */
export type PresenceMode = 'member' | 'watch' | false

/**
 * The topics that say who is in those of a client, as far as it may know; from here on it is expected in them.
 * @throws MemberInvalid, and what the app throws
 */
export async function companionsOf (
  presence: Presence, asking: Asking, connection: Connection, topics: readonly TopicAt[], mode: PresenceMode
): Promise<TopicAt[]> {
  const found = await Promise.all(topics.map(async (at) => await companionOf(presence, asking, connection, at, mode)))
  return found.flatMap((at) => at ?? [])
}

/** Has one of them a companion that this route's clients are to hear? Most have none, and need not wait. */
export function haveCompanions (presence: Presence, topics: readonly TopicAt[], mode: PresenceMode): boolean {
  return mode !== false && topics.some(({ topic }) => presence.companionOf(topic) !== undefined)
}

async function companionOf (
  presence: Presence, asking: Asking, connection: Connection, subject: TopicAt, mode: PresenceMode
): Promise<TopicAt | undefined> {
  const companion = mode === false ? undefined : presence.companionOf(subject.topic)
  if (!companion) return undefined
  const grant = await grantOf(asking, subject)
  if (!grant) return undefined
  const at = companion.declared.at(subject.params)
  if (mode === 'member') await expect(presence, companion.policy, asking, connection, at, grant)
  return at
}

/** Undefined where it may hear the topic, and not know who else does. */
async function grantOf (asking: Asking, at: TopicAt): Promise<Grant | undefined> {
  try {
    // The route says so, and whoever may hear the topic may: nobody is asked.
    return at.topic.policy.authorize === 'anyone' ? UNLIMITED : await authorize(asking, at, 'presence')
  } catch (error) {
    if (error instanceof Forbidden) return undefined
    throw error
  }
}

async function expect (
  presence: Presence, policy: PresencePolicy, asking: Asking, connection: Connection, at: TopicAt, grant: Grant
): Promise<void> {
  const { identity } = connection
  const { patience } = asking.hub
  const what = `"presence.id" of topic "${at.name}"`
  const id: unknown = policy.id ? await patience.call(what, () => policy.id?.(identity)) : identity.id
  // Nobody that is to be shown: it watches.
  if (id === undefined || id === null) return
  if (!isPublishKey(id)) {
    throw new MemberInvalid(at.name, 'the id of a member must be a string of 1 to 255 bytes without control characters')
  }
  presence.expect(connection, at, { id, info: await infoOf(policy, asking, connection, at, grant) })
}

/** What the server says of it, or the grant, or the token. */
async function infoOf (
  policy: PresencePolicy, { hub, request }: Asking, { identity }: Connection, { name }: TopicAt, grant: Grant
): Promise<string | undefined> {
  const info: unknown = policy.info
    ? await hub.patience.call(`"presence.info" of topic "${name}"`, () => policy.info?.(identity, request))
    : grant.info
  if (info === undefined) return undefined
  const text = jsonOf(name, 'info', info)
  const bytes = Buffer.byteLength(text)
  if (bytes <= policy.maxInfoBytes) return text
  throw new MemberInvalid(name,
    `the info of a member is ${bytes} bytes, more than maxInfoBytes (${policy.maxInfoBytes})`)
}

/**
 * What the client says of itself. Resolves with why it does not fit, or undefined.
 * @throws Forbidden where it is not shown, or may say nothing
 */
export async function show (
  presence: Presence, connection: Connection, at: TopicAt, said: unknown
): Promise<string | undefined> {
  const policy = presence.companionOf(at.topic)?.policy
  if (!policy?.state) throw new Forbidden(at.name, 'say anything about itself')
  const { fault, value } = await policy.state(said)
  if (fault !== undefined) return fault
  const text = jsonOf(at.name, 'presence', value)
  const bytes = Buffer.byteLength(text)
  if (bytes > policy.maxStateBytes) return `is ${bytes} bytes, more than ${policy.maxStateBytes}`
  if (!presence.update(connection, at, text)) throw new Forbidden(at.name, 'say anything about itself')
  return undefined
}
