/** A topic's log on a node, whatever the adapter does: order, repair, the past, and the ring that holds them. */
import t, { type Test } from 'tap'
import type { EventId, LogEvent, Page, ReadLimits, Retention } from '../../../lib/core/adapter.ts'
import { durableEntry, type Entry } from '../../../lib/core/event.ts'
import { RecentEvents } from '../../../lib/core/log/recent-events.ts'
import { TopicLog, type LogHost } from '../../../lib/core/log/topic-log.ts'
import { Random, seedOf, turns } from '../../random/random.ts'

const WIDE: Retention = { limit: 100_000, maxAge: 3_600_000, maxBytes: 1 << 30 }
const GENESIS = '0-0.g'

/** An adapter's side of one topic: what it keeps, and every read that was made of it. */
class Source {
  readonly all: LogEvent[] = []
  readonly reads: Array<EventId | null> = []
  /** Reads under way, and the most there were at once. */
  open = 0
  most = 0
  kept: number
  page = Infinity
  /** Awaited before a page is taken, and again before it is given. */
  pause: () => Promise<unknown> = async () => {}
  failures = 0
  #genesis = GENESIS

  constructor (kept = Infinity) {
    this.kept = kept
  }

  get head (): EventId { return this.all.at(-1)?.id ?? this.#genesis }

  publish (count: number, bytes = 1): LogEvent[] {
    return Array.from({ length: count }, () => {
      const n = this.all.length
      const event = { id: `${1000 + n}-0.${this.#genesis.slice(4)}n`, prev: this.head, name: 'said', data: Buffer.alloc(bytes), format: 'json' as const }
      this.all.push(event)
      return event
    })
  }

  /** It is lost, and begins anew. */
  restart (): void {
    this.all.length = 0
    this.#genesis += 'g'
  }

  async read (after: EventId | null, limits: ReadLimits): Promise<Page> {
    this.reads.push(after)
    this.most = Math.max(this.most, ++this.open)
    try {
      await this.pause()
      if (this.failures-- > 0) throw new Error('cannot read now')
      const page = this.#take(after, limits)
      await this.pause()
      return page
    } finally {
      this.open--
    }
  }

  #take (after: EventId | null, { count }: ReadLimits): Page {
    const kept = this.all.slice(-Math.min(this.kept, this.all.length || 1))
    const found = after === null ? 0 : after === this.head ? kept.length : kept.findIndex(({ prev }) => prev === after)
    const from = Math.max(0, found)
    const events = kept.slice(from, from + Math.min(count, this.page))
    return { head: this.head, events, linked: found !== -1, more: from + events.length < kept.length }
  }
}

/** A log that listens to a source; what it passes on is checked link by link. */
function listen (t: Test, source: Source, retention = WIDE, open = true) {
  const heard: Entry[] = []
  const resets: Array<{ reason: string, last: EventId }> = []
  const notes = { repaired: 0, failed: 0 }
  let at: EventId = source.head
  const host: LogHost = {
    append (entry) {
      if (entry.prev !== at) t.fail(`${entry.prev} does not link to ${at}`)
      at = entry.id as EventId
      heard.push(entry)
    },
    reset (reason) {
      at = log.last
      resets.push({ reason, last: log.last })
    },
    read: (after, limits) => source.read(after, limits),
    readFailed: () => { notes.failed++ },
    repaired: () => { notes.repaired++ }
  }
  const log: TopicLog = new TopicLog(host, retention)
  if (open) log.open(source.head, source.head === GENESIS)
  t.teardown(() => log.close())
  const ids = (): Array<EventId | undefined> => heard.map(({ id }) => id)
  return { log, ids, resets, notes }
}

// A log's pause before it reads again keeps no process alive.
const alive = setInterval(() => {}, 60_000)
t.teardown(() => clearInterval(alive))

const idsOf = (events: readonly LogEvent[]): EventId[] => events.map(({ id }) => id)

t.test('events in any order, repeated and with holes come out once, in order', async (t) => {
  const seed = seedOf()
  t.comment(`SEED=${seed}`)
  for (let round = 0; round < 300; round++) {
    const random = new Random(seed + round)
    const source = new Source()
    source.page = random.int(1, 6)
    source.pause = () => turns(random.int(0, 3))
    source.failures = random.chance(0.02) ? 1 : 0
    const { log, ids, resets } = listen(t, source)
    const waiting: LogEvent[] = []
    for (let step = random.int(5, 40); step > 0; step--) {
      for (const event of source.publish(random.int(0, 4))) {
        for (let copies = random.pick([0, 1, 1, 1, 2]); copies > 0; copies--) waiting.push(event)
      }
      for (const event of random.shuffled(waiting.splice(0, random.int(0, waiting.length)))) log.deliver(event)
      if (random.chance(0.3)) await turns(random.int(1, 4))
    }
    for (const event of random.shuffled(waiting)) log.deliver(event)
    // What was lost on the way is made known, as the adapter's contract says.
    await log.repair()
    if (ids().length !== source.all.length || resets.length > 0) t.same({ ids: ids(), resets }, { ids: idsOf(source.all), resets: [] }, `SEED=${seed + round}`)
  }
  t.pass('300 rounds')
})

t.test('a short history: every loss is told, and nothing else is', async (t) => {
  const seed = seedOf()
  t.comment(`SEED=${seed}`)
  let losses = 0
  for (let round = 0; round < 300; round++) {
    const random = new Random(seed + round)
    const source = new Source(random.int(1, 8))
    source.page = random.int(1, 4)
    source.pause = () => turns(random.int(0, 2))
    const { log, ids, resets } = listen(t, source, { ...WIDE, limit: source.kept })
    for (let step = random.int(3, 20); step > 0; step--) {
      if (random.chance(0.05)) source.restart()
      for (const event of source.publish(random.int(0, 12))) if (random.chance(0.7)) log.deliver(event)
      if (random.chance(0.5)) await turns(random.int(1, 3))
    }
    await log.repair()
    losses += resets.length
    if (log.last !== source.head || new Set(ids()).size !== ids().length) t.fail(`SEED=${seed + round}: ${log.last} is not ${source.head}, or something came twice`)
    for (const { reason } of resets) if (reason !== 'lost') t.fail(`SEED=${seed + round}: reset for ${reason}`)
  }
  t.ok(losses > 0, `${losses} losses`)
})

t.test('a repeated event costs no read, and neither does one in its place', async (t) => {
  const source = new Source()
  const { log, ids } = listen(t, source)
  const events = source.publish(5)
  for (const event of [...events, ...events, events[0] as LogEvent]) log.deliver(event)
  await turns(2)
  t.same(ids(), idsOf(events))
  t.same(source.reads, [])
})

t.test('one repair at a time: what is asked meanwhile is read once more, by all together', async (t) => {
  const source = new Source()
  const { log, ids, notes } = listen(t, source)
  source.pause = () => turns(1)
  source.publish(3)
  const repairs = [log.repair(), log.repair(), log.repair()]
  await turns(1)
  source.publish(1)
  repairs.push(log.repair(), log.repair())
  await Promise.all(repairs)
  t.same(ids(), idsOf(source.all))
  t.equal(source.most, 1)
  t.ok(source.reads.length <= 3, `${source.reads.length} reads for five who asked`)
  t.equal(notes.repaired, 1)
})

t.test('what arrives during a repair is held up to a bound, and read again past it', async (t) => {
  for (const [count, bytes] of [[1500, 1], [20, 128 * 1024]] as const) {
    const source = new Source()
    const { log, ids } = listen(t, source)
    source.pause = () => turns(1)
    source.publish(1)
    const repaired = log.repair()
    await turns(1)
    // Behind the page that the read has taken already.
    for (const event of source.publish(count, bytes)) log.deliver(event)
    const before = source.reads.length
    await repaired
    t.same(ids(), idsOf(source.all), `${count} events of ${bytes} bytes`)
    t.ok(source.reads.length > before, 'by another read')
  }
})

t.test('what comes before the subscription is live is held, and what of it is old is dropped', async (t) => {
  const source = new Source()
  const [old] = source.publish(1) as [LogEvent]
  const { log, ids } = listen(t, source, WIDE, false)
  const { head } = source
  const [next] = source.publish(1) as [LogEvent]
  log.deliver(next)
  log.deliver(old)
  log.repair().catch(t.threw)
  t.same(source.reads, [], 'there is no place to read from yet')
  log.open(head, false)
  await log.repair()
  t.same(ids(), [next.id])
})

t.test('a log that was lost: one reset, and on from its head', async (t) => {
  const source = new Source()
  const { log, ids, resets } = listen(t, source)
  for (const event of source.publish(3)) log.deliver(event)
  source.restart()
  const anew = source.publish(2)
  log.deliver(anew[1] as LogEvent)
  await log.repair()
  t.same(resets, [{ reason: 'lost', last: source.head }])
  const [last] = source.publish(1) as [LogEvent]
  log.deliver(last)
  t.equal(ids().at(-1), last.id)
  t.equal(log.locate('1000-0.gn'), undefined, 'the ring of the lost log is gone')
})

t.test('a read that fails is tried again until the log closes', async (t) => {
  const source = new Source()
  const { log, ids, notes } = listen(t, source)
  source.failures = 2
  source.publish(2)
  await log.repair()
  t.same(ids(), idsOf(source.all))
  t.equal(notes.failed, 2)
  source.failures = Infinity
  source.publish(1)
  const repaired = log.repair()
  await turns(1)
  log.close()
  await repaired
  t.equal(ids().length, 2)
})

// --- the past -----------------------------------------------------------------

t.test('the past is read once for all who wait, from the oldest of them', async (t) => {
  const source = new Source()
  const past = source.publish(2000)
  const { log } = listen(t, source)
  source.pause = () => turns(1)
  const cursors = past.slice(500).map(({ id }) => id)
  await Promise.all(cursors.map((id) => log.reach(id)))
  t.ok(cursors.every((id) => log.locate(id) !== undefined))
  t.ok(source.reads.length <= 8, `${cursors.length} clients, ${source.reads.length} reads`)
  t.equal(source.most, 1)
  await log.reach('500-0.elsewhere')
  const { length } = source.reads
  await Promise.all(['501-0.elsewhere', '400-0.elsewhere'].map((id) => log.reach(id)))
  t.equal(source.reads.length, length, 'once the start is known, strangers cost nothing')
})

t.test('what follows is delivered, not replayed, when a read of the past runs ahead', async (t) => {
  const source = new Source()
  const [first, ...past] = source.publish(10) as [LogEvent, ...LogEvent[]]
  const { log, ids } = listen(t, source)
  const ahead = source.publish(3)
  await log.reach(first.id)
  t.same(ids(), idsOf(ahead), 'to everybody')
  const start = log.locate(first.id) as number
  const found = Array.from({ length: log.recent.end - start }, (_, i) => log.recent.at(start + i)?.id)
  t.same(found, idsOf([...past, ...ahead]))
})

t.test('a cursor ahead of this node makes it catch up; one without order, or of nobody, is not read for', async (t) => {
  const source = new Source()
  const { log, ids } = listen(t, source)
  const events = source.publish(4)
  await log.reach((events[2] as LogEvent).id)
  t.same(ids(), idsOf(events))
  t.ok(log.locate((events[2] as LogEvent).id))
  const { length } = source.reads
  for (const stranger of ['', 'x', '1-0', 'a-b.c', '1-0.n\n', '-1-0.n']) await log.reach(stranger)
  t.equal(source.reads.length, length)
  await log.reach('9999-0.nobody')
  t.equal(log.locate('9999-0.nobody'), undefined)
})

t.test('why a cursor is not found: it is older than what is kept, or not of this log', async (t) => {
  const source = new Source(3)
  const events = source.publish(6)
  const { log } = listen(t, source, { ...WIDE, limit: 3 })
  const { id } = events[0] as LogEvent
  await log.reach(id)
  t.equal(log.locate(id), undefined)
  t.equal(log.fault(id), 'expired')
  t.equal(log.fault('9999-0.nobody'), 'unknown-cursor')
  t.equal(log.fault('nothing'), 'unknown-cursor')
})

t.test('a ring that was let go of is read again, whatever happens meanwhile', async (t) => {
  const seed = seedOf()
  t.comment(`SEED=${seed}`)
  for (let round = 0; round < 300; round++) {
    const random = new Random(seed + round)
    const source = new Source()
    source.page = random.int(1, 5)
    source.pause = () => turns(random.int(0, 2))
    source.publish(random.int(0, 10))
    const { log } = listen(t, source)
    const cursors = [source.head]
    for (let step = random.int(1, 12); step > 0; step--) {
      for (const { id } of source.publish(random.int(0, 3))) cursors.push(id)
      if (random.chance(0.7)) for (const event of source.all.slice(-random.int(1, 5))) log.deliver(event)
      if (random.chance(0.4)) log.forget()
      await turns(random.int(0, 2))
    }
    await log.repair()
    await Promise.all(cursors.map((id) => log.reach(id)))
    for (const id of cursors) {
      const start = log.locate(id)
      const at = source.all.findIndex((event) => event.prev === id)
      const expected = at === -1 ? [] : idsOf(source.all.slice(at))
      const found = start === undefined ? undefined : Array.from({ length: log.recent.end - start }, (_, i) => log.recent.at(start + i)?.id)
      if (JSON.stringify(found) !== JSON.stringify(expected)) t.same(found, expected, `SEED=${seed + round}, after ${id}`)
    }
  }
  t.pass('300 rounds')
})

// --- the ring -----------------------------------------------------------------

t.test('the ring does what a plain list does, within its bounds', async (t) => {
  const seed = seedOf()
  t.comment(`SEED=${seed}`)
  for (let round = 0; round < 200; round++) {
    const random = new Random(seed + round)
    const retention = { limit: random.int(1, 100), maxAge: 3_600_000, maxBytes: random.int(1, 400) }
    const ring = new RecentEvents(retention)
    const source = new Source()
    const entries = source.publish(300, random.int(1, 9)).map(durableEntry)
    // What the list holds is entries[from..to).
    let [from, to] = [150, 150]
    for (let step = 0; step < 120 && to < 300; step++) {
      if (random.chance(0.9)) {
        ring.push(entries[to++] as Entry)
        const size = (entries[0] as Entry).data.byteLength
        from = Math.max(from, to - retention.limit, to - Math.max(1, Math.floor(retention.maxBytes / size)))
      } else if (random.chance(0.6)) {
        const older = Math.max(0, from - random.int(1, 10))
        ring.prepend(entries.slice(older, from))
        from = older
      } else {
        ring.clear()
        from = to
      }
      const expected = entries.slice(from, to)
      const start = ring.end - ring.size
      const same = ring.size === expected.length && ring.first === expected[0] &&
        expected.every((entry, i) => ring.at(start + i) === entry && ring.has(entry.id as EventId) && ring.after(entry.id as EventId) === start + i + 1) &&
        (expected.length === 0 || ring.after(expected[0]?.prev as EventId) === start) &&
        (from === 0 || !ring.has(entries[from - 1]?.id as EventId)) && ring.at(ring.end) === undefined
      if (!same) t.fail(`SEED=${seed + round}, step ${step}: the ring holds ${ring.size}, the list ${expected.length}`)
    }
    ring.clear()
    t.equal(ring.bytes, 0)
  }
})

t.test('the ring lets go of what is older than maxAge', async (t) => {
  let now = 1000
  t.intercept(performance, 'now', { value: () => now })
  const ring = new RecentEvents({ limit: 100, maxAge: 50, maxBytes: 1 << 20 })
  const [one, two] = new Source().publish(2).map(durableEntry) as [Entry, Entry]
  ring.push(one)
  now += 40
  ring.push(two)
  now += 20
  ring.expire()
  t.equal(ring.first, two)
  t.equal(ring.after(one.id as EventId), ring.end - 1, 'what follows the one that is gone is there')
  t.equal(ring.after(one.prev as EventId), undefined)
  now += 40
  ring.expire()
  t.equal(ring.size, 0)
  t.equal(ring.bytes, 0)
})
