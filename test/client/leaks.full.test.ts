/** 10,000 clients, one after the other, against a real server: nothing of them is left, here or there. */
import t from 'tap'
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { live } from '../helpers/app.ts'
import { root } from '../helpers/docs.ts'
import { until } from '../helpers/redis.ts'

t.setTimeout(180_000)
/** What the heap of another 8,000 may be more: 64 bytes each. One listener that stays is more than that. */
const MOST_BYTES = 512 * 1024

t.test('opened and closed 10,000 times', async (t) => {
  let people = 0
  // Each another one: what one identity says is limited.
  const app = await live(t, { identify: () => ({ id: String(people++) }) })
  const room = app.topic('rooms/:room', { authorize: () => true, presence: { grace: 0 } })
  app.channel('/realtime', { subscribe: room, presence: true, messages: { say: { handler: () => 'yes' } } })
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  const { stdout } = await promisify(execFile)(process.execPath, ['--expose-gc', `${root}test/helpers/cycles.mjs`, `${url}/realtime`], { env: {} })
  const { early, late, resources, listeners } = JSON.parse(stdout) as { early: number, late: number, resources: string[], listeners: number }
  t.comment(`${early} bytes behind 2,000, ${late} behind 10,000`)
  t.ok(late - early < MOST_BYTES, `${late - early} bytes`)
  t.same(resources, [], 'no socket and no timer')
  t.equal(listeners, 0)
  await until('nobody', () => {
    const { connections, topics } = app.realtime.stats()
    return connections.websocket === 0 && topics === 0
  })
})
