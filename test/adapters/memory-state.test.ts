/** The state of one topic in memory: what it takes, and what it costs. */
import t from 'tap'
import { MemoryState } from '../../lib/adapters/memory-state.ts'

const BOUNDS = { maxKeys: 2, maxBytes: 100, lifetime: 1000 }
const put = (state: MemoryState, key: string, bytes: number): void =>
  state.put({ id: '1-0.a', prev: '0-0.g', name: 'set', key, data: Buffer.alloc(bytes), format: 'binary' }, key)

t.test('what it takes: keys held, the key and its bytes, the room of the adapter', async (t) => {
  const held: Array<[key: string, bytes: number]> = [['a', 60], ['b', 30]]
  const table: Array<[what: string, key: string, bytes: number, room: number, refusal?: RegExp]> = [
    ['a key more', 'c', 1, Infinity, /2 keys \(maxKeys\)/],
    ['a key that is there', 'a', 70, Infinity],
    ['bytes too many', 'a', 71, Infinity, /100 bytes \(maxBytes\)/],
    ['no room for it', 'a', 61, 892, /892 bytes in memory/],
    ['just room for it', 'a', 60, 892]
  ]
  for (const [what, key, bytes, room, refusal] of table) {
    const state = new MemoryState(BOUNDS)
    for (const [one, size] of held) put(state, one, size)
    t.equal(state.bytes, 892)
    const take = (): void => state.mustTake('t', key, bytes, BOUNDS, room)
    if (refusal) t.throws(take, { code: 'FST_ERR_REALTIME_STATE_FULL', message: refusal }, what)
    else t.doesNotThrow(take, what)
  }
})

t.test('bounds are those of the newest publish', async (t) => {
  const state = new MemoryState(BOUNDS)
  for (const key of ['a', 'b']) put(state, key, 1)
  state.mustTake('t', 'c', 1, { ...BOUNDS, maxKeys: 3, lifetime: 5 }, Infinity)
  t.equal(state.lifetime, 5)
  t.throws(() => state.mustTake('t', 'd', 1, { ...BOUNDS, maxKeys: 1 }, Infinity), { code: 'FST_ERR_REALTIME_STATE_FULL' })
  state.mustTake('t', 'a', 1, { ...BOUNDS, maxKeys: 1 }, Infinity)
})

t.test('what is replaced or removed costs nothing', async (t) => {
  const state = new MemoryState(BOUNDS)
  const empty = state.bytes
  put(state, 'a', 50)
  const one = state.bytes
  put(state, 'a', 50)
  t.equal(state.bytes, one)
  state.remove('none')
  state.remove('a')
  t.equal(state.bytes, empty)
  t.equal(state.size, 0)
})
