/** Who was signed out everywhere, as one node remembers it: for as long as it matters, whatever the wall clock does. */
import t from 'tap'
import { RevokedIdentities } from '../../../lib/features/grants/revoked.ts'
import { Random, seedOf } from '../../random/random.ts'

const START = 1_800_000_000_000

function remembering (ms: number, most = 100) {
  const clock = { wall: START, now: 1000, momentOf: (at: number) => clock.now + at - clock.wall }
  return { clock, revoked: new RevokedIdentities(clock, ms, most), pass: (by: number) => { clock.now += by; clock.wall += by } }
}

t.test('what was issued until then is refused, and what does not say when; what came later is not', async (t) => {
  const { revoked, pass } = remembering(60_000)
  t.equal(revoked.refuses('ada', undefined), false)
  t.equal(revoked.add('ada', START), true)
  for (const [issuedAt, refused] of [[START - 1, true], [START, true], [START + 1, false], [undefined, true], [0, true]] as const) t.equal(revoked.refuses('ada', issuedAt), refused, String(issuedAt))
  t.equal(revoked.refuses('ben', 0), false)
  t.equal(revoked.add('ada', START - 5), false, 'an earlier one changes nothing')
  t.equal(revoked.add('ada', START + 10), true)
  t.equal(revoked.refuses('ada', START + 10), true)
  pass(60_020)
  t.same([...revoked.entries()], [])
  t.equal(revoked.size, 0)
})

t.test('a wall clock that jumps forgets nobody, and remembers nobody for ever', async (t) => {
  for (const jump of [86_400_000 * 365, -86_400_000 * 365]) {
    const { revoked, clock, pass } = remembering(60_000)
    revoked.add('ada', START)
    clock.wall += jump
    pass(30_000)
    t.same([...revoked.entries()], [['ada', START]])
    pass(31_000)
    t.same([...revoked.entries()], [])
  }
})

t.test('as a model has it, whatever is added and whenever', async (t) => {
  const seed = seedOf()
  t.comment(`SEED=${seed}`)
  const random = new Random(seed)
  for (let schedule = 0; schedule < 30; schedule++) {
    const { revoked, clock, pass } = remembering(1000, 1000)
    const model = new Map<string, number>()
    for (let step = 0; step < 300; step++) {
      const identity = `user ${random.int(0, 20)}`
      if (random.chance(0.5)) {
        revoked.add(identity, clock.wall)
        model.set(identity, clock.wall)
      } else pass(random.int(0, 200))
      for (const [one, at] of model) if (at + 1000 <= clock.wall) model.delete(one)
      t.same(new Map(revoked.entries()), model)
    }
  }
})

t.test('no more than may be', async (t) => {
  const { revoked } = remembering(60_000, 2)
  for (const [i, identity] of ['a', 'b'].entries()) revoked.add(identity, START + i)
  t.same([revoked.isFullFor('c'), revoked.isFullFor('a')], [true, false])
  revoked.add('c', START + 2)
  t.same([...revoked.entries()].map(([identity]) => identity), ['b', 'c'])
})
