/** Every default and check of what a topic keeps: the newest of each key, and who is there. */
import { checkEventName } from './core/event-name.ts'
import { PRESENCE } from './core/event.ts'
import type { TopicPolicy } from './core/topics/topic.ts'
import type { Check } from './core/validation.ts'
import { onlyKnown, record } from './known.ts'
import { callable, integer, oneOf } from './options.ts'
import type { KeyedOptions, PresenceOptions } from './types/topic.ts'

const MiB = 1 << 20
const WEEK_MS = 604_800_000

/** @throws OptionInvalid, EventNameInvalid */
export function readKeyed (value: unknown): TopicPolicy['keyed'] {
  if (value === undefined || value === false) return undefined
  if (value === true) return readKeyed({})
  record('keyed', value)
  onlyKnown('keyed', value, new Set(['maxKeys', 'maxBytes', 'lifetime', 'event']))
  const { maxKeys, maxBytes, lifetime, event } = value as KeyedOptions
  if (event !== undefined) checkEventName(event)
  return Object.freeze({
    bounds: Object.freeze({
      maxKeys: integer('keyed.maxKeys', maxKeys ?? 10_000, 1, 1_000_000),
      maxBytes: integer('keyed.maxBytes', maxBytes ?? 16 * MiB, 1),
      lifetime: integer('keyed.lifetime', lifetime ?? WEEK_MS, 1)
    }),
    event
  })
}

const PRESENCE_OPTIONS: ReadonlySet<string> = new Set([
  'grace', 'mode', 'maxMembers', 'maxInfoBytes', 'maxStateBytes', 'event', 'id', 'info', 'state', 'onJoin', 'onLeave'
] satisfies Array<keyof PresenceOptions>)

export interface PresenceSettings {
  readonly grace: number
  readonly mode: 'members' | 'count'
  readonly maxMembers: number
  readonly maxInfoBytes: number
  readonly maxStateBytes: number
  readonly event: string
  readonly id: PresenceOptions['id']
  readonly info: PresenceOptions['info']
  /** Of what clients say of themselves. */
  readonly state: Check | undefined
  readonly onJoin: PresenceOptions['onJoin']
  readonly onLeave: PresenceOptions['onLeave']
}

/** `check`: of what clients say of themselves. @throws OptionInvalid, EventNameInvalid */
export function readPresence (value: unknown, check: (schema: unknown) => Check): PresenceSettings | undefined {
  if (value === undefined || value === false) return undefined
  if (value === true) return readPresence({}, check)
  record('presence', value)
  onlyKnown('presence', value, PRESENCE_OPTIONS)
  const { grace, mode, maxMembers, maxInfoBytes, maxStateBytes, event, id, info, state, onJoin, onLeave } =
    value as PresenceOptions
  if (event !== undefined) checkEventName(event)
  return Object.freeze({
    grace: integer('presence.grace', grace ?? 10_000, 0, 600_000),
    mode: oneOf('presence.mode', mode ?? 'members', ['members', 'count'] as const),
    maxMembers: integer('presence.maxMembers', maxMembers ?? 10_000, 1, 1_000_000),
    maxInfoBytes: integer('presence.maxInfoBytes', maxInfoBytes ?? 1024, 2, 65_536),
    maxStateBytes: integer('presence.maxStateBytes', maxStateBytes ?? 1024, 2, 65_536),
    event: event ?? PRESENCE,
    id: callable('presence.id', id),
    info: callable('presence.info', info),
    state: state === undefined ? undefined : check(state),
    onJoin: callable('presence.onJoin', onJoin),
    onLeave: callable('presence.onLeave', onLeave)
  })
}

/** What a route's clients are in topics with presence. */
export function readPresenceMode (value: unknown): 'member' | 'watch' | false {
  const mode = oneOf('presence', value ?? false, [true, false, 'member', 'watch'] as const)
  return mode === true ? 'member' : mode
}
