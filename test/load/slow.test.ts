import type { AddressInfo } from 'node:net'
import Fastify from 'fastify'
import t from 'tap'
import realtime from '../../lib/index.ts'
import { Swarm } from '../helpers/swarm.ts'

const MAX_BUFFERED = 1 << 20
const FILL = 'x'.repeat(60_000)
const EVENTS = Math.ceil(200e6 / FILL.length)

for (const slow of ['close', 'latest', 'reset'] as const) {
  t.test(`clients that stop reading cost at most maxBuffered each while 200 MB are published, and hold up nobody (slow: ${slow})`, async (t) => {
    const app = Fastify()
    const stalled = new Swarm()
    const reading = new Swarm()
    t.teardown(async () => {
      await stalled.end()
      await reading.end()
      await app.close()
    })
    await app.register(realtime, { maxBuffered: MAX_BUFFERED, slow })
    const bulk = app.topic('bulk', { history: { limit: 16 } })
    const ended: string[] = []
    const onDisconnect = (_: unknown, reason: { name: string }): void => { ended.push(reason.name) }
    app.stream('/bulk', { topics: bulk, onDisconnect })
    app.channel('/ws', { topics: bulk, onDisconnect })
    await app.listen({ port: 0, host: '127.0.0.1' })
    const { port } = app.server.address() as AddressInfo
    const path = { sse: '/bulk', websocket: '/ws' }
    await reading.open({ port, sse: 2, websocket: 2, path })
    await stalled.open({ port, sse: 4, websocket: 4, path })
    await stalled.stall(8)

    let most = 0
    for (let n = 0; n < EVENTS; n++) {
      await bulk.publish({}, 'part', { n, fill: FILL })
      for (const connection of app.realtime.connections()) most = Math.max(most, connection.buffered)
      // In step with the readers: it is the others' standstill that is on trial, not the speed of this machine.
      if (n % 8 === 7) await reading.expect(n + 1)
    }
    await reading.expect(EVENTS)
    // One event may be written onto an empty buffer whatever its size.
    t.ok(most <= MAX_BUFFERED + FILL.length * 10, `at most ${most} bytes waited for one client`)
    t.ok(most > FILL.length, 'the stalled clients did hold something back')
    if (slow === 'close') t.same(ended, Array(8).fill('slow-client'))
    else t.same(ended, [], 'nobody was closed')
    t.equal(app.realtime.stats().connections.sse, slow === 'close' ? 2 : 6)
  })
}
