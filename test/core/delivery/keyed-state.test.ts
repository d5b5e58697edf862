/** A keyed topic's state on a node: read by parts while events come, and joined exactly to its log. */
import t, { type Test } from 'tap'
import type { EventId, KeyedEvent, LogEvent, Page, StatePage } from '../../../lib/core/adapter.ts'
import { KeyedState } from '../../../lib/core/delivery/keyed-state.ts'
import { REMOVED } from '../../../lib/core/event.ts'
import { TopicLog } from '../../../lib/core/log/topic-log.ts'
import { newestOfEach } from '../../../lib/core/state-codec.ts'
import { gate } from '../../helpers/app.ts'
import { Random, seedOf, turns } from '../../random/random.ts'

const WIDE = { limit: 100_000, maxAge: 3_600_000, maxBytes: 1 << 30 }

/** A store: log and state of one topic, in one piece. Its parts are read by a cursor that may give a key twice. */
class Store {
  readonly log: LogEvent[] = []
  readonly state = new Map<string, KeyedEvent>()
  generation = 0
  count = 0

  get head (): EventId { return this.log.at(-1)?.id ?? `0-0.g${this.generation}` }

  put (key: string, value = String(this.count)): LogEvent { return this.#append('set', key, value) }

  remove (key: string): LogEvent { return this.#append(REMOVED, key, '{}') }

  #append (name: string, key: string, text: string): LogEvent {
    const event = { id: `${1000 + ++this.count}-0.n${this.generation}`, prev: this.head, name, key, data: Buffer.from(text), format: 'text' as const }
    this.log.push(event)
    if (name === REMOVED) this.state.delete(key)
    else this.state.set(key, event)
    return event
  }

  /** All of it is lost; ids begin anew too where its clock was set back. */
  lose (back = false): void {
    this.generation++
    this.log.length = 0
    this.state.clear()
    if (back) this.count = 0
  }

  read (after: EventId | null): Page {
    const found = after === null ? 0 : after === this.head ? this.log.length : this.log.findIndex(({ prev }) => prev === after)
    return { head: this.head, events: this.log.slice(Math.max(0, found)), linked: found !== -1, more: false }
  }

  get shown (): Record<string, string> { return shownOf(this.state) }
}

function shownOf (state: ReadonlyMap<string, KeyedEvent> | undefined): Record<string, string> {
  return Object.fromEntries([...state ?? []].map(([key, { data }]): [string, string] => [key, Buffer.from(data).toString()]).sort())
}

/** A node that hears of a store; `read` gives a part of its state. */
function nodeOf (t: Test, store: Store, read: (from: string | null) => Promise<StatePage>, maxKeys = 10_000) {
  const failures: unknown[] = []
  let resets = 0
  const log: TopicLog = new TopicLog({
    append: (entry) => state.append(entry),
    reset: () => {
      resets++
      state.forget()
    },
    read: async (after) => store.read(after),
    readFailed: () => {},
    repaired: () => {}
  }, WIDE)
  const state: KeyedState = new KeyedState({ maxKeys, codec: () => newestOfEach, settle: 0, read, readFailed: (error) => { failures.push(error) } }, log)
  log.open(store.head, false)
  t.teardown(() => {
    log.close()
    state.close()
  })
  const shown = async (): Promise<Record<string, string>> => await state.with(shownOf)
  return { log, state, failures, shown, get resets () { return resets } }
}

const page = (store: Store, keys: string[], next?: string, head = store.head): StatePage =>
  ({ head, events: keys.flatMap((key) => store.state.get(key) ?? []), next })

// A pause before another read keeps no process alive.
const alive = setInterval(() => {}, 60_000)
t.teardown(() => clearInterval(alive))

/** What happens between two parts, to a state of the keys a and b: before the first there were a=1 and b=2. */
const BETWEEN: Record<string, (store: Store, hear: (event: LogEvent) => void) => void> = {
  'a key that was read changes': (store, hear) => hear(store.put('a', '3')),
  'a key that was read goes': (store, hear) => hear(store.remove('a')),
  'a key that is to be read changes': (store, hear) => hear(store.put('b', '3')),
  'a key that is to be read goes': (store, hear) => hear(store.remove('b')),
  'a key goes, and comes again': (store, hear) => {
    hear(store.remove('a'))
    hear(store.put('a', '3'))
  },
  'a key comes, and goes again': (store, hear) => {
    hear(store.put('c', '3'))
    hear(store.remove('c'))
  },
  'an event comes late: the part is ahead of the log': (store) => { store.put('b', '3') },
  'a removal comes late': (store) => { store.remove('a') },
  'all is lost': (store) => store.lose(),
  'all is lost, and some of it comes again': (store) => {
    store.lose()
    store.put('b', '9')
  },
  'all is lost, and the clock is set back': (store) => {
    store.lose(true)
    store.put('b', '9')
  },
  'all is lost, which is heard of at once': (store, hear) => {
    store.lose()
    hear(store.put('a', '9'))
    hear(store.put('c', '9'))
  }
}

t.test('whatever happens between two parts, the state is the log\'s', async (t) => {
  for (const [what, happens] of Object.entries(BETWEEN)) {
    const store = new Store()
    store.put('a', '1')
    store.put('b', '2')
    let parts = 0
    const { state, log, shown } = nodeOf(t, store, async (from) => {
      if (from === null) return page(store, ['a', 'c'], '1')
      if (parts++ === 0) happens(store, (event) => log.deliver(event))
      // A key may come twice, in the version of then.
      return page(store, ['b', 'a'])
    })
    t.same(await shown(), store.shown, what)
    t.equal(log.last, store.head, `${what}: it is handed out with the log`)
    log.deliver(store.put('d', '4'))
    t.same(shownOf(state.newest), store.shown, `${what}: it is kept up`)
    t.same(state.sortedKeys, Object.keys(store.shown), what)
  }
})

t.test('nothing is handed out of a state whose log began anew, however soon after the read', async (t) => {
  for (let ticks = 0; ticks < 24; ticks++) {
    const store = new Store()
    store.put('old', '1')
    const { state, log } = nodeOf(t, store, async () => page(store, [...store.state.keys()]))
    const taken = state.with((newest) => ({ keys: [...newest.keys()], at: log.last }))
    for (let i = 0; i < ticks; i++) await null
    store.lose()
    store.put('new', '2')
    log.repair().catch(() => {})
    const { keys, at } = await taken
    t.same(keys, at === store.head ? ['new'] : ['old'], `${ticks} ticks later`)
  }
})

t.test('at random: late events, losses and parts of any cut', async (t) => {
  const seed = seedOf()
  t.comment(`SEED=${seed}`)
  for (let round = 0; round < 200; round++) {
    const random = new Random((seed + round) >>> 0)
    const store = new Store()
    const keys = Array.from({ length: random.int(1, 12) }, (_, i) => `k${i}`)
    const { state, log, shown } = nodeOf(t, store, async (from) => {
      await turns(random.int(0, 2))
      const at = Number(from ?? 0)
      const end = at + random.int(1, 4)
      const part = page(store, [...keys.slice(at, end), random.pick(keys)], end < keys.length ? String(end) : undefined)
      await turns(random.int(0, 2))
      return part
    })
    const late: LogEvent[] = []
    for (let step = random.int(10, 40); step > 0; step--) {
      if (random.chance(0.03)) store.lose(random.chance(0.3))
      const key = random.pick(keys)
      late.push(random.chance(0.3) ? store.remove(key) : store.put(key))
      if (random.chance(0.4)) for (const event of late.splice(0)) log.deliver(event)
      if (random.chance(0.2)) state.forget()
      if (random.chance(0.4)) state.with(() => {}).catch(() => {})
      if (random.chance(0.5)) await turns(1)
    }
    await log.repair()
    const found = await shown()
    if (JSON.stringify(found) !== JSON.stringify(store.shown)) return t.same(found, store.shown, `SEED=${seed + round}`)
  }
  t.pass('200 rounds')
})

t.test('a read that fails is tried again, and told of', async (t) => {
  const store = new Store()
  store.put('a', '1')
  let tries = 0
  const { shown, failures } = nodeOf(t, store, async () => {
    if (tries++ < 2) throw new Error('away')
    return page(store, ['a'])
  })
  t.same(await shown(), { a: '1' })
  t.equal(failures.length, 2)
})

t.test('a store that answers at once leaves other work its turns, however long its parts take', async (t) => {
  const store = new Store()
  const PARTS = 10
  for (let n = 0; n < PARTS; n++) store.put(String(n))
  let turnsOfOthers = 0
  let done = false
  const count = (): void => {
    turnsOfOthers++
    if (!done) setImmediate(count)
  }
  const { shown } = nodeOf(t, store, async (from) => {
    const part = Number(from ?? 0)
    // More than the slice of one turn.
    for (const end = performance.now() + 5; performance.now() < end;);
    return page(store, [String(part)], part + 1 < PARTS ? String(part + 1) : undefined)
  })
  setImmediate(count)
  t.equal(Object.keys(await shown()).length, PARTS)
  done = true
  t.ok(turnsOfOthers >= PARTS - 1, `${turnsOfOthers} turns`)
})

t.test('all who ask meanwhile wait for one read', async (t) => {
  const store = new Store()
  store.put('a', '1')
  let reads = 0
  const { shown } = nodeOf(t, store, async () => {
    reads++
    return page(store, ['a'])
  })
  await Promise.all([shown(), shown(), shown()])
  await shown()
  t.equal(reads, 1)
})

t.test('a topic that is closed in mid-read is read no further, and nobody waits', async (t) => {
  for (const [what, answer] of Object.entries({ read: async () => page(new Store(), []), fails: async () => { throw new Error('away') } })) {
    const store = new Store()
    const held = gate()
    let reads = 0
    const { state, log } = nodeOf(t, store, async () => {
      reads++
      await held.passed
      return await answer()
    })
    const asked = state.with(() => 'given')
    await turns(1)
    log.close()
    state.close()
    held.open()
    await t.rejects(asked, { code: 'FST_ERR_REALTIME_UNAVAILABLE' }, what)
    await t.rejects(state.with(() => 'given'), { code: 'FST_ERR_REALTIME_UNAVAILABLE' }, what)
    t.equal(reads, 1, what)
    t.equal(state.newest, undefined)
  }
})

t.test('an endless state is given up, and so is one that is never the log\'s; nothing is kept of them', async (t) => {
  const store = new Store()
  store.put('a', '1')
  const many: KeyedEvent[] = Array.from({ length: 20_000 }, () => store.state.get('a') as KeyedEvent)
  const liars: Record<string, () => Promise<StatePage>> = {
    endless: async () => ({ head: store.head, events: many, next: 'more' }),
    'of a head that never comes': async () => page(store, ['a'], undefined, '9999-0.n'),
    'older than the log': async () => page(store, ['a'], undefined, '1-0.n')
  }
  for (const [what, read] of Object.entries(liars)) {
    const { state } = nodeOf(t, store, read, 10)
    await t.rejects(state.with(() => {}), { code: 'FST_ERR_REALTIME_UNAVAILABLE' }, what)
    t.equal(state.bytes, 0, what)
  }
})

t.test('a store that holds far more than is allowed now, as after a limit was lowered, is read', async (t) => {
  const store = new Store()
  const keys = Array.from({ length: 5000 }, (_, i) => `k${i}`)
  for (const key of keys) store.put(key)
  const { state } = nodeOf(t, store, async (from) => {
    const end = Number(from ?? 0) + 200
    return page(store, keys.slice(end - 200, end), end < keys.length ? String(end) : undefined)
  }, 100)
  t.equal(await state.with(({ size }) => size), 5000)
})

t.test('bytes are those of what is kept', async (t) => {
  const store = new Store()
  const { state, log } = nodeOf(t, store, async () => page(store, [...store.state.keys()]))
  await state.with(() => {})
  t.equal(state.bytes, 0)
  log.deliver(store.put('a', 'x'.repeat(1000)))
  const one = state.bytes
  t.ok(one > 1000)
  for (let i = 0; i < 5; i++) log.deliver(store.put('a', 'y'.repeat(1000)))
  t.equal(state.bytes, one, 'what is replaced counts no more')
  log.deliver(store.remove('a'))
  t.equal(state.bytes, 0)
})

t.test('an event without a key, as a stranger may append, changes nothing', async (t) => {
  const store = new Store()
  const { state, log } = nodeOf(t, store, async () => page(store, [...store.state.keys()]))
  await state.with(() => {})
  log.deliver({ id: '5000-0.n', prev: log.last, name: 'set', data: Buffer.from('1'), format: 'text' })
  t.equal(state.changes, 1)
  t.equal(state.newest?.size, 0)
})
