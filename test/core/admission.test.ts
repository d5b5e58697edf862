/** Places for connections: each taken once, and given back once. */
import t from 'tap'
import { Admission, type AdmissionLimits, type Place } from '../../lib/core/admission.ts'
import { Random, seedOf } from '../random/random.ts'

const LIMITS: AdmissionLimits = { maxConnections: 5, maxConnectionsPerAddress: 3, maxConnectionsPerIdentity: 2 }
const REFUSED = { code: 'FST_ERR_REALTIME_TOO_MANY_CONNECTIONS', statusCode: 503 }

t.test('connections are bounded for the node, for an address and for an identity, and each that goes makes room', (t) => {
  const admission = new Admission(LIMITS)
  const [first, second] = ['a', 'a', 'a'].map((address) => admission.reserve(() => address)) as [Place, Place]
  t.throws(() => admission.reserve(() => 'a'), { ...REFUSED, message: /maxConnectionsPerAddress: 3.*trustProxy/ })
  first.identify('ada')
  second.identify('ada')
  const third = admission.reserve(() => 'b')
  t.throws(() => third.identify('ada'), { ...REFUSED, message: /maxConnectionsPerIdentity: 2/ })
  admission.reserve(() => undefined)
  t.throws(() => admission.reserve(() => undefined), { ...REFUSED, message: /maxConnections: 5/ })
  t.equal(admission.size, 5)
  third.giveBack()
  second.giveBack()
  t.equal(admission.size, 3)
  admission.reserve(() => 'a').identify('ada')
  t.throws(() => admission.reserve(() => 'a'), REFUSED)
  t.end()
})

t.test('a place is held until both the way in and the connection are over, and is given back once', (t) => {
  const ways: Array<Array<(place: Place) => void>> = [
    [(place) => place.arrived(), (place) => place.left()],
    [(place) => place.left(), (place) => place.arrived()]
  ]
  for (const way of ways) {
    const admission = new Admission(LIMITS)
    const place = admission.reserve(() => 'a')
    place.identify('ada')
    for (const [index, step] of way.entries()) {
      step(place)
      step(place)
      t.equal(admission.size, index === 0 ? 1 : 0)
    }
    for (const again of [...way, (late: Place) => late.giveBack()]) again(place)
    t.equal(admission.size, 0)
    t.equal(admission.remembered, 0)
  }
  t.end()
})

t.test('whoever is refused takes nothing from anybody', (t) => {
  const admission = new Admission({ maxConnections: 2, maxConnectionsPerAddress: 1, maxConnectionsPerIdentity: 1 })
  const place = admission.reserve(() => 'a')
  place.identify('ada')
  for (let n = 0; n < 3; n++) t.throws(() => admission.reserve(() => 'a'), REFUSED)
  const other = admission.reserve(() => 'b')
  t.throws(() => other.identify('ada'), REFUSED)
  t.throws(() => admission.reserve(() => 'c'), { message: /maxConnections: 2/ })
  other.giveBack()
  t.equal(admission.size, 1)
  place.giveBack()
  t.equal(admission.remembered, 0)
  t.end()
})

t.test('without limits nothing is remembered', (t) => {
  const admission = new Admission({ maxConnections: Infinity, maxConnectionsPerAddress: Infinity, maxConnectionsPerIdentity: Infinity })
  const places = Array.from({ length: 100 }, (_, n) => admission.reserve(() => `a${n % 2}`))
  for (const place of places) place.identify('ada')
  t.equal(admission.size, 100)
  t.equal(admission.remembered, 0)
  for (const place of places) place.giveBack()
  t.equal(admission.size, 0)
  t.end()
})

t.test('nobody is asked for an address while there are fewer clients than one address may have', (t) => {
  const admission = new Admission({ maxConnections: 100, maxConnectionsPerAddress: 3, maxConnectionsPerIdentity: 100 })
  let asked = 0
  const from = (address: string) => (): string => {
    asked++
    return address
  }
  const places = ['a', 'a', 'b'].map((address) => admission.reserve(from(address)))
  t.equal(asked, 0)
  places.push(admission.reserve(from('a')))
  t.equal(asked, 4, 'now all are, those who were there before too')
  t.throws(() => admission.reserve(from('a')), REFUSED)
  for (const place of places.splice(1)) place.giveBack()
  t.equal(admission.remembered, 0, 'they are few again')
  asked = 0
  places.push(admission.reserve(from('a')), admission.reserve(from('a')))
  t.equal(asked, 0)
  t.throws(() => admission.reserve(from('a')), REFUSED)
  for (const place of places) place.giveBack()
  t.equal(admission.size, 0)
  t.equal(admission.remembered, 0)
  t.end()
})

/** What a place should be, told by somebody else. */
interface Expected { place: Place, origin: string, identity: string | undefined, arriving: boolean, connected: boolean }

t.test('over any schedule the counts are those of a model, and zero at the end', (t) => {
  const seed = seedOf()
  const random = new Random(seed)
  const admission = new Admission(LIMITS)
  let all: Expected[] = []
  const held = (): Expected[] => all.filter(({ arriving, connected }) => arriving || connected)
  const of = (test: (one: Expected) => boolean): number => held().filter(test).length
  const attempt = (run: () => void): boolean => {
    try {
      run()
      return true
    } catch {
      return false
    }
  }
  const steps: Array<() => string | undefined> = [
    () => {
      const origin = random.pick(['a', 'b', 'c'])
      const free = held().length < 5 && of((one) => one.origin === origin) < 3
      const let_ = attempt(() => { all.push({ place: admission.reserve(() => origin), origin, identity: undefined, arriving: true, connected: true }) })
      return let_ === free ? undefined : `a client of ${origin} was ${let_ ? 'let in' : 'refused'}`
    },
    () => {
      const one = random.pick([...held().filter((one) => one.identity === undefined), undefined])
      if (!one) return undefined
      const identity = random.pick(['ada', 'ben'])
      const free = of((other) => other.identity === identity) < 2
      const let_ = attempt(() => one.place.identify(identity))
      if (let_) one.identity = identity
      else {
        one.place.giveBack()
        one.arriving = one.connected = false
      }
      return let_ === free ? undefined : `${identity} was ${let_ ? 'let in' : 'refused'}`
    },
    () => {
      const one = random.pick([...all, undefined])
      one?.place.arrived()
      if (one) one.arriving = false
      return undefined
    },
    () => {
      const one = random.pick([...all, undefined])
      one?.place.left()
      if (one) one.connected = false
      return undefined
    }
  ]
  for (let step = 0; step < 5000; step++) {
    const fault = random.pick(steps)() ?? (admission.size === held().length ? undefined : `${admission.size} are counted, ${held().length} are there`)
    if (fault) {
      t.fail(`seed ${seed}, step ${step}: ${fault}`)
      break
    }
    if (all.length > 40) all = all.slice(20).concat(held().filter((one) => all.indexOf(one) < 20))
  }
  for (const { place } of all) place.giveBack()
  t.equal(admission.size, 0)
  t.equal(admission.remembered, 0)
  t.end()
})
