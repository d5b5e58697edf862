/** Reads a page of a log. Its stream may have foreign entries. */
import type { EventId, LogEvent, Page } from '../../core/adapter.ts'

/** One call of READ: from the oldest entry, after an id, or after a place in the stream. */
export type ReadStep = (how: 'oldest' | 'after' | 'behind', from: string) => Promise<unknown>
/** Undefined if the entry cannot be read. */
export type ReadEntry = (id: string, prev: string, body: Buffer) => LogEvent | undefined

/** The head, 1 if linked, 1 if there is more, and id, prev and body of each entry. */
type Answer = [head: Buffer, linked: number, more: number, ...entries: Buffer[]]

/** Events of which each links to the one before. */
interface Run {
  readonly events: LogEvent[]
  /** True if entries before them were skipped, or if the first event does not link to `after`. */
  readonly broken: boolean
  /** True if an entry follows that cannot be read or does not link. */
  readonly cut: boolean
}

/**
 * If an entry cannot be read, or does not link, the page ends before it. The next page begins after that entry and is
 * not linked, which its reader takes as a loss. So no entry is read for ever, and no loss is silent.
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

/** The place in the stream, `<ms>-<seq>`, of an id or an entry. */
function placeOf (id: string): string {
  return id.split('.', 1)[0] as string
}
