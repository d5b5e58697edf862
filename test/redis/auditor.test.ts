/** The auditor of the chaos suite finds what it is there to find. */
import t from 'tap'
import { audit, type Evidence } from './auditor.ts'
import type { Note } from './listeners.ts'

const RESET: Note = { type: 'reset', reason: 'lost', at: undefined }
const event = (n: number, prev: number | null = n - 1, p = 'p'): Note => ({ type: 'event', p, n, id: `${p}${n}`, prev: prev === null ? undefined : `p${prev}` })

/** Events 1 to 4 were acknowledged; one client got these notes. */
function verdictOf (notes: Note[], more: Partial<Evidence> & { killed?: boolean, others?: Note[] } = {}): ReturnType<typeof audit> {
  const { killed = false, others, ...rest } = more
  const acknowledged = new Map([['a', new Map([1, 2, 3, 4].map((n) => [n, `p${n}`]))]])
  const clients = [notes, ...(others ? [others] : [])].map((some, i) => ({ name: `client ${i}`, notes: new Map([['a', some]]), faults: [] }))
  return audit({ publishers: [{ name: 'p', acknowledged, killed }], clients, lossy: false, keeps: () => false, ...rest })
}

const ALL = [event(1), event(2), event(3), event(4)]

t.test('what is as it should be', async (t) => {
  t.same(verdictOf(ALL).faults, [])
  t.same(verdictOf([...ALL, event(1, 4, 'q')]).faults, [], 'an event whose publisher was never answered')
  const covered = verdictOf([event(1), RESET, event(4)])
  t.match(covered, { faults: [], covered: 2, resets: 1 })
  t.equal(covered.needless.size, 0)
})

t.test('what is not', async (t) => {
  const faults = (notes: Note[], more?: Parameters<typeof verdictOf>[1]): string => verdictOf(notes, more).faults.join('\n')
  t.match(faults([event(1), event(2), event(4, null)]), /p 3 .* was acknowledged and never came/)
  t.match(faults([event(1), event(2), event(3)]), /p 4 .* never came/, 'at the end')
  t.match(faults([event(1), event(2), event(2), event(3), event(4)]), /p 2 \(p2\) came twice/)
  t.match(faults([event(1), event(3), event(2), event(4)]), /p 2 came behind p 3/)
  t.match(faults([RESET, event(1), event(2), event(4)]), /never came/, 'a reset elsewhere does not cover it')
  t.match(faults([event(1), event(2), event(4), RESET]), /never came/, 'nor does one that comes too late')
  t.match(faults([event(1), RESET, event(4)], { keeps: () => true }), /was not delivered, and Redis had it/)
  t.match(faults([event(1, null), event(3, null), event(4, null)], { others: ALL }), /came behind p1, and follows p2/, 'by what another client knows')
  t.match(faults(ALL, { others: [event(1), event(2), event(3, 1), event(4)] }), /p3 follows p2 for one client, p1 for another/)
})

t.test('what Redis lost', async (t) => {
  const lossy = true
  t.match(verdictOf([event(1), event(2), event(4, 2), RESET], { lossy }), { faults: [], late: 1 })
  t.match(verdictOf([event(1), event(2), event(4, 2)], { lossy }).faults, [/p 3 .* never came/])
  t.match(verdictOf([event(1), event(2), event(4, 2)], { lossy, killed: true }), { faults: [], excused: 1 }, 'whoever knew of it is gone too')
  t.match(verdictOf([event(1), event(2), RESET, { ...event(2), id: 'again' } as Note, event(3), event(4)], { lossy }), { faults: [], again: 1 })
})

t.test('resets that nobody needed', async (t) => {
  t.same([...verdictOf([event(1), event(2), RESET, event(3), event(4)]).needless], [['lost', 1]])
})
