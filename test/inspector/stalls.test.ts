/** How many clients may be stalled, and whose places are free again. */
import t from 'tap'
import { Stalls } from '../../lib/inspector/stalls.ts'

const MOST = 1000

/** Clients that are there until they leave; `stalled` are those that it was told to stall. */
function clients () {
  const here = new Set<string>()
  const stalled = new Set<string>()
  const stalls = new Stalls({
    stall: (id) => here.has(id) && stalled.add(id) !== undefined,
    release: (id) => stalled.delete(id) && here.has(id),
    connections: () => [...here].map((id) => ({ id }))
  }, 3_600_000)
  const come = (from: number, to: number): string[] =>
    Array.from({ length: to - from }, (_, at) => `c${from + at}`).map((id) => { here.add(id); return id })
  return { here, stalled, stalls, come }
}

t.test('past the limit a client is not stalled, and one that is stalled already may be stalled again', async (t) => {
  const { stalls, stalled, come } = clients()
  t.teardown(() => { stalls.end() })
  for (const id of come(0, MOST)) t.ok(stalls.stall(id), id)
  const [late = ''] = come(MOST, MOST + 1)
  t.equal(stalls.stall(late), false)
  t.notOk(stalled.has(late))
  t.equal(stalls.stall('c0'), true, 'it has its place')
  t.equal(stalls.release('c0'), true)
  t.equal(stalls.stall(late), true, 'a place is free')
})

t.test('clients that left keep no place', async (t) => {
  const { here, stalls, come } = clients()
  t.teardown(() => { stalls.end() })
  for (const id of come(0, MOST)) stalls.stall(id)
  for (const id of [...here].slice(0, MOST - 1)) here.delete(id)
  for (const id of come(MOST, 2 * MOST - 1)) t.ok(stalls.stall(id), id)
  come(2 * MOST, 2 * MOST + 1)
  t.equal(stalls.stall(`c${2 * MOST}`), false, 'full again, of clients that are there')
  t.equal(stalls.release('c999'), true, 'who stayed is stalled still')
})

t.test('who is not there is not stalled, and takes no place', async (t) => {
  const { stalls, come } = clients()
  t.teardown(() => { stalls.end() })
  for (let i = 0; i <= MOST; i++) stalls.stall(`nobody${i}`)
  const [one = ''] = come(0, 1)
  t.equal(stalls.stall(one), true)
})
