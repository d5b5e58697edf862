import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import type { AddressInfo } from 'node:net'
import Fastify from 'fastify'
import t from 'tap'
import realtime from '../../lib/index.ts'
import { Swarm } from '../helpers/swarm.ts'

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

/** What the process holds, after everything that can go has gone. */
async function heldBytes (): Promise<number> {
  for (let i = 0; i < 5; i++) {
    collect()
    await new Promise((resolve) => setImmediate(resolve))
  }
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}

async function quiet (until: () => boolean): Promise<void> {
  while (!until()) await new Promise((resolve) => setTimeout(resolve, 10))
}

t.test('a thousand SSE and a thousand WebSocket clients get ten thousand events, in order, each once, and leave nothing behind', async (t) => {
  const warnings: Error[] = []
  const warned = (warning: Error): void => { warnings.push(warning) }
  process.on('warning', warned)
  const app = Fastify()
  const swarm = new Swarm()
  t.teardown(async () => {
    process.off('warning', warned)
    await swarm.end()
    await app.close()
  })
  await app.register(realtime)
  const ticks = app.topic('ticks', { history: { limit: 64 } })
  app.stream('/ticks', { topics: ticks })
  app.channel('/ws', { topics: ticks })
  await app.listen({ port: 0, host: '127.0.0.1' })
  const { port } = app.server.address() as AddressInfo
  const path = { sse: '/ticks', websocket: '/ws' }
  let n = 0
  const publish = async (count: number): Promise<void> => { for (const end = n + count; n < end; n++) await ticks.publish({}, 'tick', { n }) }

  // A first, smaller crowd: what is made once and kept is made before the measure.
  await swarm.open({ port, sse: 100, websocket: 100, path })
  await publish(200)
  await swarm.expect(200)
  await swarm.leave()
  await quiet(() => app.realtime.stats().subscriptions === 0)
  const before = await heldBytes()

  await swarm.open({ port, sse: 1000, websocket: 1000, path, first: n })
  t.same(app.realtime.stats().connections, { sse: 1000, websocket: 1000, process: 0 })
  await publish(10_000)
  await swarm.expect(n)
  t.equal(app.realtime.stats().slowClosed, 0, 'no reader was taken for a slow one')
  await swarm.leave()
  await quiet(() => app.realtime.stats().subscriptions === 0)
  t.same(app.realtime.stats().connections, { sse: 0, websocket: 0, process: 0 })

  const after = await heldBytes()
  t.ok(after < before * 1.15, `held ${before} bytes before and ${after} after`)
  t.same(warnings.map(String), [], 'no listener leaks')
})
