/** The clock of all connections: each is beaten once a period, whatever the periods, and a tick costs what is due. */
import t, { type Test } from 'tap'
import { Heartbeat, type Beating, type Hand } from '../../../lib/core/connection/heartbeat.ts'
import { Random, seedOf } from '../../random/random.ts'

/**
 * A wheel that turns when it is told to, by its own timer's callback. All that is due is beaten in that same call, unless
 * the test asks for slices: how long a beat takes depends on how busy the machine is.
 */
function wheel (t: Test, sliceMs = Infinity) {
  const timers: Array<{ run: () => void, ms: number, on: boolean }> = []
  t.intercept(globalThis, 'setInterval', {
    value: (run: () => void, ms: number) => {
      const timer = { run, ms, on: true, unref () { return timer } }
      timers.push(timer)
      return timer
    }
  })
  t.intercept(globalThis, 'clearInterval', { value: (timer?: { on: boolean }) => { if (timer) timer.on = false } })
  const running = () => timers.filter(({ on }) => on)
  const pass = (ticks: number): void => { for (let i = 0; i < ticks; i++) for (const { run } of running()) run() }
  return { heartbeat: new Heartbeat(sliceMs), running, pass }
}

class Counted implements Beating {
  beats = 0
  beat (): void { this.beats++ }
}

t.test('each is beaten once in every period, the first time within one', async (t) => {
  const { heartbeat, running, pass } = wheel(t)
  heartbeat.allow(25_000)
  const periods = [500, 25_000, 60_000, 300_000]
  const all = Array.from({ length: 400 }, (_, i) => ({ target: new Counted(), period: periods[i % 4] as number }))
  const hands = all.map(({ target, period }) => heartbeat.add(target, period))
  t.equal(running().length, 1, 'one timer')
  const { ms } = running()[0] as { ms: number }
  const longest = Math.max(...hands.map(({ every }) => every))
  const wrong = new Set<string>()
  for (let round = 1; round <= 3; round++) {
    pass(longest)
    for (const [i, { target, period }] of all.entries()) {
      const { every } = hands[i] as Hand
      const expected = round * longest / every
      if (Math.abs(target.beats - expected) > 1) wrong.add(`${target.beats} beats of ${period} ms, not ${expected}`)
      if (Math.abs(every * ms - period) > period * 0.1 + ms) wrong.add(`a period of ${period} ms takes ${every} ticks of ${ms} ms`)
    }
  }
  t.same([...wrong], [])
  heartbeat.stop()
})

t.test('a tick with much to do goes on in the next turns of the event loop, and beats each once', async (t) => {
  const { heartbeat, pass } = wheel(t, 0)
  heartbeat.allow(250)
  const targets = Array.from({ length: 1000 }, () => new Counted())
  const hands = targets.map((target) => heartbeat.add(target, 250))
  const { every } = hands[0] as Hand
  const beaten = (): number => targets.reduce((sum, { beats }) => sum + beats, 0)
  pass(every)
  t.ok(beaten() < 1000, `${beaten()} of them in the ticks themselves`)
  for (let turn = 0; turn < 1000 && beaten() < 1000; turn++) await new Promise((resolve) => setImmediate(resolve))
  t.ok(targets.every(({ beats }) => beats === 1), 'the others later, and nobody twice')
  heartbeat.stop()
})

t.test('beats are spread over the period, and not all in one tick', async (t) => {
  const { heartbeat, pass } = wheel(t)
  heartbeat.allow(25_000)
  const targets = Array.from({ length: 1000 }, () => new Counted())
  const hands = targets.map((target) => heartbeat.add(target, 25_000))
  const { every } = hands[0] as Hand
  let most = 0
  let before = 0
  for (let tick = 0; tick < every; tick++) {
    pass(1)
    const now = targets.reduce((sum, { beats }) => sum + beats, 0)
    most = Math.max(most, now - before)
    before = now
  }
  t.equal(before, 1000, 'each once')
  t.ok(most < 120, `at most ${most} in a tick of ${every}`)
  heartbeat.stop()
})

t.test('who left is not beaten, is let go of at once, and the last one stops the clock', async (t) => {
  const { heartbeat, running, pass } = wheel(t)
  const seed = seedOf()
  t.comment(`SEED=${seed}`)
  const random = new Random(seed)
  const there = new Map<Hand, Counted>()
  const gone: Array<{ target: Counted, beats: number, hand: Hand }> = []
  for (let step = 0; step < 2000; step++) {
    if (random.chance(0.5)) {
      const target = new Counted()
      there.set(heartbeat.add(target, random.pick([500, 5000, 200_000])), target)
    } else if (there.size > 0) {
      const [hand, target] = random.pick([...there])
      heartbeat.remove(hand)
      heartbeat.remove(hand)
      there.delete(hand)
      gone.push({ target, beats: target.beats, hand })
    }
    if (heartbeat.timers !== (there.size > 0 ? 1 : 0)) t.fail(`${heartbeat.timers} timers for ${there.size}`)
    pass(random.int(0, 3))
  }
  for (const { target, beats, hand } of gone) if (target.beats !== beats || hand.target) t.fail('one that left is still there')
  for (const hand of there.keys()) heartbeat.remove(hand)
  t.equal(running().length, 0)
})

t.test('one may leave, or join, in the middle of a beat', async (t) => {
  const { heartbeat, pass } = wheel(t)
  heartbeat.allow(250)
  const joined = new Counted()
  let hand: Hand | undefined
  const leaving = { beats: 0, beat () { this.beats++; if (hand) heartbeat.remove(hand); hand = undefined; heartbeat.add(joined, 250) } }
  hand = heartbeat.add(leaving, 250)
  const { every } = hand
  pass(every * 3)
  t.equal(leaving.beats, 1)
  t.ok(joined.beats >= 1)
  heartbeat.stop()
})

t.test('a finer period makes the one clock finer', async (t) => {
  const { heartbeat, running } = wheel(t)
  heartbeat.allow(25_000)
  heartbeat.add(new Counted(), 25_000)
  const [coarse] = running()
  heartbeat.allow(1000)
  const [fine, ...others] = running()
  t.same(others, [])
  t.ok((fine?.ms as number) < (coarse?.ms as number), `${fine?.ms} after ${coarse?.ms}`)
  heartbeat.stop()
})
