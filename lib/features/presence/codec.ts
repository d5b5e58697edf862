/** How the events of a presence topic change its state, and how that state is sent. */
import type { EventId, KeyedEvent } from '../../core/adapter.ts'
import type { Entry } from '../../core/event.ts'
import { countText, memberEventStart } from '../../core/member-events.ts'
import type { Change, StateCodec } from '../../core/state-codec.ts'
import { subjectOf } from './names.ts'

interface MemberEvent {
  readonly type?: unknown
  readonly members?: unknown
  readonly ids?: unknown
  readonly count?: unknown
}

const NOTHING: ReadonlyArray<readonly [string, Change]> = []

/** Each key is a member's id. Threat: others may write into the log, so what is not a member is skipped. */
export const whoIsThere: StateCodec = {
  changes (entry) {
    const { members, ids } = read(entry)
    if (Array.isArray(ids)) return ids.filter(isId).map((id) => [id, undefined])
    if (!Array.isArray(members)) return NOTHING
    return members.flatMap((member) => {
      const { id } = (member ?? {}) as { id?: unknown }
      return isId(id) ? [[id, memberEvent(entry, id, member)] as const] : []
    })
  },
  part: (topic, part, more, events) =>
    `${memberEventStart(subjectOf(topic))},"type":"members","part":${part},"more":${more},` +
    `"members":[${events.map(({ data }) => Buffer.from(data).toString()).join(',')}]}`
}

/** For a topic in `count` mode. Its events name no members, and the number is that of the last event. */
export function howMany (): StateCodec {
  let last: number | undefined
  return {
    partial: true,
    changes (entry) {
      const { count } = read(entry)
      if (typeof count === 'number') last = count
      return NOTHING
    },
    part: (topic, _part, _more, events) => countText(subjectOf(topic), last ?? events.length)
  }
}

function read ({ data }: Entry): MemberEvent {
  try {
    const said: unknown = JSON.parse(Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString())
    return typeof said === 'object' && said !== null ? said : {}
  } catch {
    return {}
  }
}

function isId (id: unknown): id is string {
  return typeof id === 'string' && id !== ''
}

function memberEvent ({ id, name }: Entry, key: string, member: unknown): KeyedEvent {
  return { id: id as EventId, key, name, data: Buffer.from(JSON.stringify(member)), format: 'json' }
}
