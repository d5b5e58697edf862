/** Checks what a source yields: an event with these members and no others, because a misspelt one would be ignored. */
import { printable } from './event-name.ts'
import { EventDataInvalid } from '../errors.ts'
import { isRecord, unknownIn, whyUnknown } from '../known.ts'

const MEMBERS: ReadonlySet<string> = new Set(['event', 'data', 'id', 'retry', 'comment'])

/** @throws EventDataInvalid */
export function checkYielded (topic: string, value: unknown): asserts value is object {
  if (!isRecord(value)) {
    throw new EventDataInvalid(topic, 'message', `yielded ${printable(value)}, not an event like { event, data }`)
  }
  const unknown = unknownIn(value, MEMBERS)
  if (unknown !== undefined) {
    throw new EventDataInvalid(
      topic, 'message', `yielded an event with "${printable(unknown)}", which ${whyUnknown(unknown, MEMBERS)}`
    )
  }
}
