/** A node of the example: one topic, a stream and a channel of it, and the page. */
import { fileURLToPath } from 'node:url'
import Fastify from 'fastify'
import fastifyStatic from '@fastify/static'
import realtime, { type Connection } from 'fastify-realtime'
import { redis } from 'fastify-realtime/redis'
import { TOPIC } from './ticks.ts'

const { NODE_NAME: node, REDIS_URL, PORT, HOST } = process.env

const pagePolicy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'"
].join('; ')

const app = Fastify({ logger: { level: 'warn' }, trustProxy: 'loopback' })
await app.register(realtime, { adapter: redis(REDIS_URL), retry: 500 })

const ticks = app.topic(TOPIC)
// An event for this client alone: which node it is on.
const onConnect = (connection: Connection): void => connection.send('node', { node })
app.stream('/events', { topics: ticks, onConnect })
app.channel('/channel', { topics: ticks })
app.get('/listeners', async () => String(app.realtime.stats().connections.sse))

await app.register(fastifyStatic, {
  root: fileURLToPath(new URL('./public/', import.meta.url)),
  setHeaders: reply => reply.header('content-security-policy', pagePolicy)
})

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => {
    app.close().then(() => process.exit(0), () => process.exit(1))
  })
}
console.log(await app.listen({ port: Number(PORT), host: String(HOST) }))
