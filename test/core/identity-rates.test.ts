/** Messages of an identity: as many as its rate allows, over all of its connections, and nothing kept of the silent. */
import t from 'tap'
import { Bucket } from '../../lib/core/bucket.ts'
import { IdentityRates } from '../../lib/core/identity-rates.ts'
import { connectChannel, type ChannelClient } from '../../lib/testing/index.ts'
import { live } from '../helpers/app.ts'
import { hubOf } from '../helpers/insides.ts'

t.test('a burst of two seconds, then the rate; another identity has its own', async (t) => {
  let now = 1000
  t.intercept(performance, 'now', { value: () => now })
  const rates = new IdentityRates(10)
  const taken = (id: string, times: number): number => Array.from({ length: times }, () => rates.take(id)).filter(Boolean).length
  t.equal(taken('ada', 100), 20)
  t.equal(taken('ben', 5), 5)
  now += 500
  t.equal(taken('ada', 100), 5)
  now -= 400
  t.equal(taken('ada', 100), 0, 'a clock that goes back gives nothing')
  now += 10_000
  t.equal(taken('ada', 100), 20)
  t.equal(new IdentityRates(Infinity).take('ada'), true)
})

t.test('whoever is silent is forgotten, and no sooner', async (t) => {
  let now = 1000
  t.intercept(performance, 'now', { value: () => now })
  const rates = new IdentityRates(10)
  for (let i = 0; i < 1000; i++) {
    rates.take(`user ${i}`)
    now += 10
  }
  t.ok(rates.size < 50, `${rates.size} are remembered`)
  const bucket = new Bucket(2, 1)
  t.equal(bucket.full, true)
  bucket.take()
  t.equal(bucket.full, false)
  now += 1000
  t.equal(bucket.full, true)
})

t.test('the channels of one identity share its rate, those of nobody do not', async (t) => {
  const app = await live(t, {
    messagesPerSecondPerIdentity: 1,
    identify: (request) => typeof request.headers.user === 'string' ? { id: request.headers.user, anonymous: request.headers.user === 'guest' } : null
  })
  app.channel('/channel', { messages: { say: { handler: () => 'heard' } } })
  const connect = async (user: string) => await connectChannel(app, '/channel', { t, format: 'envelope', headers: { user } })
  const [one, two, other, ...guests] = await Promise.all(['ada', 'ada', 'ben', 'guest', 'guest', 'guest'].map(connect)) as [ChannelClient, ChannelClient, ChannelClient, ...ChannelClient[]]
  // Each has said `open`, which counts.
  for (const client of [one, two, other, ...guests]) await client.next('realtime:open')
  two.sendRaw('{"event":"say","ref":1}')
  t.match((await two.next('realtime:error')).data, { code: 'RATE_LIMITED', message: /of this identity/ })
  t.equal(await other.request('say'), 'heard')
  for (const guest of guests) t.equal(await guest.request('say'), 'heard')
  t.equal(app.realtime.stats().rateLimited, 1)
  t.equal(hubOf(app).rates.size, 2)
})
