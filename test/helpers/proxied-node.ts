/** A node behind a proxy, in a process of its own: proxied-node.ts <port> <Redis URL> <prefix> <heartbeat, ms>. Says when it listens. */
import Fastify from 'fastify'
import { redis } from '../../lib/adapters/redis/index.ts'
import realtime from '../../lib/index.ts'

const [port, url = '', prefix = '', heartbeat] = process.argv.slice(2)
const app = Fastify({ trustProxy: 'loopback', forceCloseConnections: true })
await app.register(realtime, { adapter: redis({ url, prefix }), heartbeat: Number(heartbeat), closeTimeout: 1000 })
app.addHook('onRequest', async (request, reply) => { reply.headers({ 'x-node': String(port), 'x-client': request.ip, 'x-scheme': request.protocol }) })

const news = app.topic('news', { authorize: 'anyone' })
app.stream('/news', { topics: news })
app.channel('/talk', {
  topics: news,
  messages: { echo: { handler: (data) => data } }
})
app.get('/ready', async (_request, reply) => {
  const { state } = app.realtime.stats().adapter
  return await reply.header('cache-control', 'no-store').code(state === 'up' ? 200 : 503).send({ state })
})
app.get('/count', async (_request, reply) => await reply.header('cache-control', 'no-store').send(app.realtime.stats().connections))
// A stream without a heartbeat: whoever cuts quiet connections cuts it.
app.get('/quiet', (_request, reply) => {
  reply.hijack()
  reply.raw.on('error', () => {})
  reply.raw.writeHead(200, { 'content-type': 'text/event-stream', 'x-accel-buffering': 'no' }).write('data: "hello"\n\n')
})
process.once('SIGTERM', () => { app.close().then(() => process.exit(0), () => process.exit(1)) })
console.log(await app.listen({ port: Number(port), host: '127.0.0.1' }))
