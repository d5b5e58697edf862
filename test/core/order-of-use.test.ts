/** A map in the order of use: against a model, and at a cost that does not grow with the keys beside. */
import t, { type Test } from 'tap'
import { OrderOfUse } from '../../lib/core/order-of-use.ts'
import { Random } from '../random/random.ts'

/** The same by a Map of V8's, whose order is that of the first setting. */
class Model {
  readonly #map = new Map<string, number>()
  get size (): number { return this.#map.size }
  get oldest (): number | undefined { return this.#map.values().next().value }
  get (key: string): number | undefined { return this.#map.get(key) }
  has (key: string): boolean { return this.#map.has(key) }
  delete (key: string): boolean { return this.#map.delete(key) }
  clear (): void { this.#map.clear() }
  entries (): Iterable<[string, number]> { return this.#map.entries() }

  set (key: string, value: number): void {
    this.#map.delete(key)
    this.#map.set(key, value)
  }

  touch (key: string): void {
    const value = this.#map.get(key)
    if (value !== undefined) this.set(key, value)
  }

  shift (): [string, number] | undefined {
    const first = this.#map.entries().next().value
    if (first) this.#map.delete(first[0])
    return first
  }
}

t.test('keeps keys in the order in which they were set last, whatever comes and goes', async (t) => {
  const random = new Random(7)
  for (const keys of [1, 3, 40, 400]) {
    const [ours, model] = [new OrderOfUse<string, number>(), new Model()]
    for (let step = 0; step < 20_000; step++) {
      const key = `k${random.int(0, keys - 1)}`
      const turn = random.next()
      if (turn < 0.45) for (const one of [ours, model]) one.set(key, step)
      else if (turn < 0.6) for (const one of [ours, model]) one.touch(key)
      else if (turn < 0.85) compare(t, ours.delete(key), model.delete(key))
      else if (turn < 0.99) compare(t, ours.shift(), model.shift())
      else if (turn > 0.9999) for (const one of [ours, model]) one.clear()
      compare(t, [ours.size, ours.oldest, ours.get(key), ours.has(key)], [model.size, model.oldest, model.get(key), model.has(key)])
      if (step % 500 === 0) compare(t, [...ours.entries()], [...model.entries()])
    }
    compare(t, [...ours.entries()], [...model.entries()])
    t.pass(`${keys} keys`)
  }
})

/** Only what differs is told of: there are too many that are the same. */
function compare (t: Test, found: unknown, wanted: unknown): void {
  if (JSON.stringify(found) !== JSON.stringify(wanted)) t.same(found, wanted)
}

t.test('the one at hand may go while the others are looked at', async (t) => {
  const order = new OrderOfUse<number, string>()
  for (let i = 0; i < 6; i++) order.set(i, `v${i}`)
  const seen: number[] = []
  for (const [key] of order.entries()) {
    seen.push(key)
    if (key % 2 === 0) order.delete(key)
    if (key === 1) order.set(9, 'v9')
  }
  t.same(seen, [0, 1, 2, 3, 4, 5, 9])
  t.same([...order.entries()], [[1, 'v1'], [3, 'v3'], [5, 'v5'], [9, 'v9']])
})

t.test('what is gone is not kept alive', async (t) => {
  const order = new OrderOfUse<string, object>()
  for (let i = 0; i < 10_000; i++) {
    order.set(`k${i}`, {})
    order.delete(`k${i}`)
  }
  t.equal(order.size, 0)
  t.equal(order.get('k9999'), undefined)
  t.notOk(order.has('k9999'))
  t.equal(order.oldest, undefined)
  t.equal(order.shift(), undefined)
})
