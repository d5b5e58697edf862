/** Many topics on a node, and many clients when Redis comes back: counted by the commands Redis was asked, not by a clock. */
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { get } from 'node:http'
import t from 'tap'
import { portOf } from '../helpers/app.ts'
import { RedisServer, until } from '../helpers/redis.ts'
import { startApp, startNode } from './kit.ts'
import { FaultProxy } from './proxy.ts'

t.setTimeout(180_000)

const callsOf = async (server: RedisServer, command: string): Promise<number> => await server.ask(async (redis) => {
  const info = new RegExp(`^cmdstat_${command}:.*$`, 'm').exec(await redis.info('commandstats'))?.[0] ?? ''
  const field = (name: string): number => Number(new RegExp(`${name}=(\\d+)`).exec(info)?.[1] ?? 0)
  return field('calls') - field('failed_calls')
})
const forget = async (server: RedisServer): Promise<void> => { await server.ask(async (redis) => await redis.config('RESETSTAT')) }

/** The longest the event loop stood still meanwhile, ms. */
async function delayOf (run: () => Promise<unknown>): Promise<number> {
  const delay = monitorEventLoopDelay({ resolution: 5 })
  delay.enable()
  await run()
  delay.disable()
  return Math.round(delay.max / 1e6)
}

const TOPICS = 20_000
/** Of one command, in lib/. */
const BATCH = 500

t.test(`${TOPICS} topics on a node are joined, repaired and left in batches`, async (t) => {
  const server = await RedisServer.start(t)
  const node = await startNode(t, { url: server.url, connectTimeout: 60_000 })
  const topics = Array.from({ length: TOPICS }, (_, i) => `topics/${i}`)
  const commands = TOPICS / BATCH
  const channels = async (): Promise<number> => await server.ask(async (redis) => Number(/pubsub_channels:(\d+)/.exec(await redis.info('stats'))?.[1]))

  const joined = await delayOf(async () => {
    const joining: Array<Promise<unknown>> = []
    for (const topic of topics) {
      // As clients come: not all of them in one turn.
      if (joining.push(node.adapter.subscribe(topic, true)) % 200 === 0) await new Promise((resolve) => setImmediate(resolve))
    }
    await Promise.all(joining)
  })
  t.equal(await channels(), TOPICS)
  const joins = await callsOf(server, 'subscribe')
  t.ok(joins <= TOPICS / 100, `joined in batches: ${joins} commands`)

  await forget(server)
  const healed = await delayOf(async () => {
    await server.ask(async (redis) => await redis.call('client', 'kill', 'type', 'pubsub'))
    await until('all to be joined again', async () => await channels() === TOPICS)
    await until('all to be compared', async () => await callsOf(server, 'mget') >= commands)
  })
  t.ok(await callsOf(server, 'subscribe') <= commands + 2, 'joined again in batches')
  const compared = await callsOf(server, 'mget')
  // The slow beat compares some too.
  t.ok(compared <= 2 * commands, `compared in batches: ${compared} commands`)
  t.equal(await callsOf(server, 'evalsha'), 0, 'nothing was missed, and nothing is read')
  t.same(node.suspects, [])

  const left = await delayOf(async () => {
    for (const [i, topic] of topics.entries()) {
      node.adapter.unsubscribe(topic)
      if (i % 2000 === 0) await new Promise((resolve) => setImmediate(resolve))
    }
    await until('all to be left', async () => await channels() === 0)
  })
  const leaves = await callsOf(server, 'unsubscribe')
  t.ok(leaves <= 2 * commands, `left in batches: ${leaves} commands`)
  t.comment(`event loop stood still for at most ${joined} ms while joining, ${healed} ms while healing, ${left} ms while leaving`)
})

/** More by CLIENTS=9500, where a process may have twice as many files open. */
const CLIENTS = Number(process.env.CLIENTS ?? 2000)
const ROOMS = 100

t.test(`${CLIENTS} clients of ${ROOMS} topics when Redis is back: a read a topic, and nobody reconnects`, async (t) => {
  const server = await RedisServer.start(t, ['--appendonly', 'yes'])
  const proxy = await FaultProxy.start(t, server.port)
  const { app } = await startApp(t, { url: proxy.url }, { heartbeat: 60_000 })
  const other = await startNode(t, { url: server.url, prefix: 'realtime:' })
  let events = 0
  let opened = 0
  let closed = 0
  let resets = 0
  const clients = Array.from({ length: CLIENTS }, (_, i) => get({ port: portOf(app), host: '127.0.0.1', path: `/log/${i % ROOMS}`, headers: { accept: 'text/event-stream' }, agent: false }, (response) => {
    response.setEncoding('latin1')
    // By whole blocks: what is read may end anywhere.
    let rest = ''
    response.on('data', (text: string) => {
      const blocks = (rest + text).split('\n\n')
      rest = blocks.pop() as string
      for (const block of blocks) {
        if (block.includes('realtime:open')) opened++
        if (block.includes('event: realtime:reset')) resets++
        if (/^event: e$/m.test(block)) events++
      }
    })
    response.on('error', () => {})
  }).on('error', () => {}).on('close', () => { closed++ }))
  t.teardown(() => { for (const client of clients) client.destroy() })
  await until('all clients', () => opened === CLIENTS, 60_000)
  const publishAll = async (): Promise<void> => { await Promise.all(Array.from({ length: ROOMS }, async (_, i) => await other.publish(`log/${i}`, 'x'))) }
  await publishAll()
  await until('the first events', () => events === CLIENTS, 60_000)

  proxy.door = 'refusing'
  await server.kill()
  await server.up()
  await publishAll()
  await forget(server)
  proxy.door = 'open'
  const began = performance.now()
  await until('the events that were missed', () => events === 2 * CLIENTS, 60_000)
  t.comment(`healed in ${Math.round(performance.now() - began)} ms (so long as the node takes to come back, and to write to all)`)
  const reads = await callsOf(server, 'evalsha') + await callsOf(server, 'eval')
  t.ok(reads <= ROOMS + 1, `${reads} reads`)
  t.same({ closed, resets, opened }, { closed: 0, resets: 0, opened: CLIENTS })
  await publishAll()
  await until('the next events', () => events === 3 * CLIENTS, 60_000)
  t.equal(events, 3 * CLIENTS)
})
