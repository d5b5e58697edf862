/** Marks, of adapters that keep such: for each key the latest moment, known to every node. */
import { marksOf, type Adapter, type Marks } from '../core/adapter.ts'
import type { Story } from './adapter-cluster.ts'

const DAY_MS = 86_400_000
const MANY = 1000

/** Of each node; none where the adapter keeps none. */
const allMarks = (nodes: readonly Adapter[]): Marks[] => nodes.flatMap((node) => marksOf(node) ?? [])

export const marking: Story = {
  'a mark is known to every node, and the latest moment of its key counts': async (t, { nodes }) => {
    const all = allMarks(nodes)
    const now = Date.now()
    const keys = ['ada', '', ' ', '{ada}', 'a\r\nb', '__proto__', 'Ада 🦊', '9', 'x'.repeat(4096)]
    for (const [i, key] of keys.entries()) {
      const marks = all[i % all.length]
      if (!marks) continue
      for (const at of [now, now + 5, now - 5]) t.equal(await marks.mark('space', key, at, DAY_MS, MANY), true)
    }
    for (const marks of all) {
      t.same([...await marks.marks('space')].sort(), keys.map((key) => [key, now + 5]).sort())
      t.equal((await marks.marks('other')).size, 0)
    }
  },

  'as many marks are kept as may be; one that is kept may be made later': async (t, { nodes }) => {
    const now = Date.now()
    for (const [i, marks] of allMarks(nodes).entries()) {
      const space = `full ${i}`
      t.equal(await marks.mark(space, 'a', now, DAY_MS, 2), true)
      t.equal(await marks.mark(space, 'b', now, DAY_MS, 2), true)
      t.equal(await marks.mark(space, 'c', now, DAY_MS, 2), false)
      t.equal(await marks.mark(space, 'a', now + 1, DAY_MS, 2), true)
      t.same([...await marks.marks(space)].sort(), [['a', now + 1], ['b', now]])
    }
  },

  'what is over makes room': async (t, { nodes }) => {
    const now = Date.now()
    for (const [i, marks] of allMarks(nodes).entries()) {
      const space = `over ${i}`
      await marks.mark(space, 'old', now - 60_000, 50_000, 1)
      t.equal(await marks.mark(space, 'new', now, 50_000, 1), true)
      t.same([...await marks.marks(space)], [['new', now]])
    }
  }
}
