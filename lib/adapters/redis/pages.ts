/** A page of a log, in whose stream there may be entries that are none of ours. */
import type { EventId, LogEvent, Page } from '../../core/adapter.ts'

/** READ: from the oldest, after an id, or behind a place in the stream. */
export type ReadStep = (how: 'oldest' | 'after' | 'behind', from: string) => Promise<unknown>
/** Undefined for an entry that cannot be read. */
export type ReadEntry = (id: string, prev: string, body: Buffer) => LogEvent | undefined

/** Head, 1 when linked, 1 when there is more, and id, prev and body of each entry. */
type Answer = [head: Buffer, linked: number, more: number, ...entries: Buffer[]]

/** Events that link, each to the one before. */
interface Run {
  readonly events: LogEvent[]
  /** Something was passed over before them, or they do not link to what they should. */
  readonly broken: boolean
  /** They end before something that would break them. */
  readonly cut: boolean
}

/**
 * What cannot be read, or does not link, may stand in an event's place: a page ends before it, and the next one begins
 * behind it and is not linked, which whoever reads takes for a loss. So nothing is read again and again, and nothing is
 * missed in silence.
 */
export async function pageOf (step: ReadStep, after: EventId | null, read: ReadEntry): Promise<Page> {
  let answer = await step(after === null ? 'oldest' : 'after', after ?? '') as Answer
  const head = String(answer[0])
  const linked = Number(answer[1]) === 1
  let lost = false
  for (;;) {
    const [, , further, ...entries] = answer
    const { events, broken, cut } = runOf(entries, linked && !lost && after !== null ? after : undefined, read)
    lost ||= broken && after !== null
    const behind = cut || Number(further) === 1
    if (events.length > 0 || !behind || entries.length === 0) {
      const more = behind && events.length > 0
      return { head, events, linked: linked && !lost, more, ...(lost && linked && { lost }) }
    }
    answer = await step('behind', placeOf(String(entries.at(-3)))) as Answer
  }
}

function runOf (entries: readonly Buffer[], after: EventId | undefined, read: ReadEntry): Run {
  const events: LogEvent[] = []
  let broken = false
  let expected = after
  for (let i = 0; i + 2 < entries.length; i += 3) {
    const event = read(String(entries[i]), String(entries[i + 1]), entries[i + 2] as Buffer)
    const fits = event !== undefined && (expected === undefined || event.prev === expected)
    if (!fits && events.length > 0) return { events, broken, cut: true }
    broken ||= !fits
    if (event === undefined) continue
    events.push(event)
    expected = event.id
  }
  return { events, broken, cut: false }
}

/** `<ms>-<seq>`, with or without a nonce behind. */
function placeOf (id: string): string {
  return id.split('.', 1)[0] as string
}
