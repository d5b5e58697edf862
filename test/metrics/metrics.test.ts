/** Metrics for Prometheus: what they count, by which labels, and what they leave behind. */
import { subscribe, unsubscribe, channel } from 'node:diagnostics_channel'
import Fastify from 'fastify'
import client, { Registry } from 'prom-client'
import t, { type Test } from 'tap'
import { meteringOf } from '../../lib/core/metering.ts'
import realtime from '../../lib/index.ts'
import metrics, { type MetricsOptions } from '../../lib/metrics/index.ts'
import { Instruments } from '../../lib/metrics/instruments.ts'
import { Tallies } from '../../lib/metrics/tallies.ts'
import { connectChannel, connectStream } from '../../lib/testing/index.ts'

async function appOf (t: Test, options: MetricsOptions = {}, retention: { limit: number } | false = { limit: 2 }) {
  const register = options.register ?? new Registry()
  const app = Fastify()
  t.teardown(async () => await app.close())
  await app.register(realtime, { retry: 0 })
  await app.register(metrics, { ...options, register })
  const room = app.topic('rooms/:room', { history: retention, authorize: () => true })
  app.stream('/rooms/:room', { topics: room })
  app.channel('/ws/:room', { topics: room })
  await app.ready()
  /** The value of a line of the text, by its name and labels. */
  const value = async (line: string): Promise<number | undefined> => {
    const found = (await register.metrics()).split('\n').find((one) => one.startsWith(`${line} `))
    return found === undefined ? undefined : Number(found.slice(line.length + 1))
  }
  const until = async (line: string, wanted: number): Promise<void> => {
    while (await value(line) !== wanted) await new Promise((resolve) => setTimeout(resolve, 2))
  }
  return { app, room, register, value, until }
}

t.test('an event is counted where it is published and where it is delivered, by pattern, with its bytes and times', async (t) => {
  const { app, room, value, until } = await appOf(t)
  const stream = await connectStream(app, '/rooms/secret-name', { t })
  const channel = await connectChannel(app, '/ws/secret-name', { t })
  await room.publish({ room: 'secret-name' }, 'said', { text: 'x' })
  await Promise.all([stream.next('said'), channel.next('said')])
  await until('realtime_delivered_total{topic="rooms/:room"}', 2)
  const labels = '{topic="rooms/:room"}'
  t.equal(await value(`realtime_published_total${labels}`), 1)
  t.equal(await value(`realtime_published_bytes_total${labels}`), '{"text":"x"}'.length)
  t.equal(await value(`realtime_subscriptions${labels}`), 2)
  t.equal(await value('realtime_connections{wire="sse"}'), 1)
  t.equal(await value('realtime_connections{wire="websocket"}'), 1)
  t.equal(await value('realtime_adapter_up{adapter="memory"}'), 1)
  t.ok(Number(await value(`realtime_delivered_bytes_total${labels}`)) > 2 * '{"text":"x"}'.length)
  for (const name of ['publish', 'delivery', 'fanout']) {
    // A stream and a channel share no bytes: two deliveries.
    t.equal(await value(`realtime_${name}_duration_seconds_count${labels}`), name === 'publish' ? 1 : 2)
    const sum = Number(await value(`realtime_${name}_duration_seconds_sum${labels}`))
    t.ok(sum >= 0 && sum < 5, `${name}: ${sum} s`)
  }
})

t.test('a time is in the bucket of its bound and in all above it', async (t) => {
  const tallies = new Tallies([0.001, 0.01, 0.1])
  const { publish } = tallies.of('a')
  for (const ms of [0, 1, 1.1, 10, 99, 100, 100.1, 5000]) publish.add(ms)
  t.same(publish.counts, [2, 2, 2, 2], 'a bound belongs to its bucket')
  t.equal(publish.sum.toFixed(4), '5.3112')
  const { app, room, register } = await appOf(t, { buckets: [0.5, 60] })
  await room.publish({ room: '1' }, 'said', 1)
  await room.publish({ room: '2' }, 'said', 2)
  const text = await register.metrics()
  for (const le of ['60', '+Inf']) t.match(text, `realtime_publish_duration_seconds_bucket{le="${le}",topic="rooms/:room"} 2`)
  const json = await register.getMetricsAsJSON() as Array<{ name: string, values: Array<{ metricName?: string, value: number }> }>
  const shown = json.find(({ name }) => name === 'realtime_publish_duration_seconds')
  t.equal(shown?.values.find(({ metricName }) => metricName?.endsWith('_count'))?.value, 2)
  register.resetMetrics()
  t.notMatch(await register.metrics(), 'realtime_published_total{', 'what was reset does not come back')
  await room.publish({ room: '1' }, 'said', 1)
  t.match(await register.metrics(), 'realtime_published_total{topic="rooms/:room"} 1')
  await app.close()
})

t.test('no label tells a topic\'s name, an identity or an address', async (t) => {
  const { app, room, register, until } = await appOf(t)
  const stream = await connectStream(app, '/rooms/secret-name', { t, headers: { 'last-event-id': '1-0.unknown' } })
  await room.publish({ room: 'secret-name' }, 'said', {})
  await stream.next('said')
  await stream.close()
  await until('realtime_connections{wire="sse"}', 0)
  const text = await register.metrics()
  t.notMatch(text, 'secret-name')
  t.notMatch(text, '127.0.0.1')
})

t.test('who comes back is counted as recovered or as reset, with the reason', async (t) => {
  const { app, room, value, until } = await appOf(t)
  const first = await connectStream(app, '/rooms/1', { t })
  await room.publish({ room: '1' }, 'said', 1)
  const { id } = await first.next('said')
  await first.close()
  for (let n = 0; n < 2; n++) await room.publish({ room: '1' }, 'said', n)
  const back = await connectStream(app, '/rooms/1', { t, headers: { 'last-event-id': String(id) } })
  await back.next('said')
  await back.close()
  await until('realtime_recover_total{result="recovered"}', 1)
  for (let n = 0; n < 3; n++) await room.publish({ room: '1' }, 'said', n)
  const late = await connectStream(app, '/rooms/1', { t, headers: { 'last-event-id': String(id) } })
  await late.next('realtime:reset')
  t.equal(await value('realtime_recover_total{result="reset"}'), 1)
  t.equal(await value('realtime_reset_total{reason="expired"}'), 1)
  t.ok(Number(await value('realtime_replayed_total')) >= 2)
})

t.test('each end of a connection has its reason; what is over is no longer counted as open', async (t) => {
  const { app, value, until } = await appOf(t)
  await connectChannel(app, '/ws/1', { t })
  await app.realtime.disconnect({ topic: 'rooms/1' })
  await until('realtime_closed_total{wire="websocket",reason="closed-by-app"}', 1)
  await until('realtime_connections{wire="websocket"}', 0)
  t.equal(await value('realtime_subscriptions{topic="rooms/:room"}'), 0)
})

t.test('two apps that share a registry have prefixes of their own, and are not mixed up', async (t) => {
  const register = new Registry()
  const one = await appOf(t, { register })
  await t.rejects(appOf(t, { register }), { code: 'FST_ERR_REALTIME_OPTION_INVALID', message: /realtime_\w+.*another prefix/ })
  const late = new Registry()
  const taken = new client.Gauge({ name: 'realtime_topics', help: 'of the app', registers: [late] })
  await t.rejects(appOf(t, { register: late }), { code: 'FST_ERR_REALTIME_OPTION_INVALID', message: /realtime_topics/ })
  t.same(late.getMetricsAsArray(), [taken], 'nothing of what was refused stays')
  const two = await appOf(t, { register, prefix: 'two_' })
  await one.room.publish({ room: '1' }, 'said', {})
  t.equal(await one.value('realtime_published_total{topic="rooms/:room"}'), 1)
  t.equal(await two.value('two_published_total{topic="rooms/:room"}'), undefined)
})

t.test('a closed app leaves nothing in the registry, and nobody listening', async (t) => {
  const { app, register } = await appOf(t)
  const metering = meteringOf(app.realtime)
  t.ok(metering?.used)
  t.ok(channel('fastify-realtime:disconnect').hasSubscribers)
  for (const what of ['publish', 'deliver']) {
    t.notOk(channel(`fastify-realtime:${what}`).hasSubscribers, `${what}: no message is made for each event`)
  }
  await app.close()
  t.equal((await register.metrics()).trim(), '')
  t.notOk(metering?.used)
  for (const what of ['disconnect', 'adapter']) t.notOk(channel(`fastify-realtime:${what}`).hasSubscribers, what)
})

t.test('the time of a delivery counts from an id that begins with a moment, and from no other', async (t) => {
  const delivered = { pattern: 'a', events: 2, listeners: 3, bytes: 10 }
  for (const [id, counts] of [
    [`${Date.now()}-0.a`, 1], [`${Date.now() + 60_000}-0.a`, 1],
    [undefined, 0], ['', 0], ['a', 0], [String(Date.now()), 0], [`${Date.now()}.0`, 0],
    ['0000000000000-0', 0], ['17642760000.0-1', 0], ['1e10         -1', 0], ['٠٠٠٠٠٠٠٠٠٠٠٠١-1', 0]
  ] as const) {
    const tally = new Tallies([0.001, 10]).of('a')
    tally.addDelivered({ ...delivered, id }, 1)
    t.equal(tally.delivery.counts[0], counts, JSON.stringify(id))
    t.equal(tally.delivery.sum < 1, true)
    t.same([tally.delivered, tally.deliveredBytes, tally.fanOut.counts], [6, 30, [1, 0, 0]])
  }
})

t.test('without options it counts in the default registry of prom-client', async (t) => {
  t.teardown(() => client.register.clear())
  const app = Fastify()
  t.teardown(async () => await app.close())
  await app.register(realtime)
  await app.register(metrics)
  await app.ready()
  t.match(await client.register.metrics(), 'realtime_connections{wire="sse"} 0')
})

const WRONG: Record<string, object> = {
  'an unknown option': { registry: new Registry() },
  'a prefix that is no name': { prefix: '0-' },
  'a prefix that is no text': { prefix: 1 },
  'no buckets': { buckets: [] },
  'buckets that do not rise': { buckets: [1, 1] },
  'a bucket of 0': { buckets: [0, 1] },
  'a bucket that is no number': { buckets: ['1'] },
  'a register that is none': { register: {} },
  'a register that is null': { register: null },
  'a client that is none': { client: {} },
  'a client that is null': { client: null }
}

t.test('wrong options are errors at register', async (t) => {
  for (const [what, options] of Object.entries(WRONG)) {
    const app = Fastify()
    await app.register(realtime)
    await t.rejects(async () => { await app.register(metrics, options as MetricsOptions) }, { code: 'FST_ERR_REALTIME_OPTION_INVALID' }, what)
    await app.close()
  }
})

t.test('it says what is missing where the plugin is not registered', async (t) => {
  const app = Fastify()
  await t.rejects(async () => { await app.register(metrics) }, /fastify-realtime/)
  await app.close()
})

t.test('a delivery is told once the last listener was written to', async (t) => {
  const { app, room } = await appOf(t, {}, false)
  const clients = await Promise.all(Array.from({ length: 50 }, async () => await connectStream(app, '/rooms/1', { t })))
  const told: Array<{ listeners: number, bytes: number, duration: number }> = []
  const listen = (message: unknown): void => { told.push(message as typeof told[number]) }
  subscribe('fastify-realtime:deliver', listen)
  t.teardown(() => unsubscribe('fastify-realtime:deliver', listen))
  await room.publish({ room: '1' }, 'said', {})
  await Promise.all(clients.map(async (one) => await one.next('said')))
  t.equal(told.length, 1)
  t.equal(told[0]?.listeners, 50)
  t.ok(Number(told[0]?.bytes) > 0 && Number(told[0]?.duration) >= 0)
})

t.test('what is counted already is asked for once each time that the metrics are collected', async (t) => {
  const register = new Registry()
  const app = Fastify()
  t.teardown(async () => await app.close())
  await app.register(realtime)
  const { realtime: own } = app
  let asked = 0
  const counting = new Proxy(own, {
    get: (target, name) => {
      if (name === 'stats') asked++
      return Reflect.get(target, name) as unknown
    }
  })
  const instruments = new Instruments(client, { register, prefix: 'realtime_', buckets: [1], realtime: counting })
  app.topic('news')
  for (let times = 1; times <= 3; times++) {
    t.match(await register.metrics(), 'realtime_topics 0')
    t.equal(asked, times)
  }
  const items = app.realtime.subscribe('news')
  await items.ready
  t.match(await register.metrics(), 'realtime_topics 1', 'and each time anew')
  await items.return()
  instruments.remove()
})
