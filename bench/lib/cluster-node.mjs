// One node of a cluster that is measured: fastify-realtime or socket.io with one of its Redis adapters.
//   node cluster-node.mjs <kind> <redis url> <prefix>
import { createServer } from 'node:http'
import { setImmediate as turn, setTimeout as sleep } from 'node:timers/promises'

const [kind, url, prefix] = process.argv.slice(2)
const FILLER = 'x'.repeat(200)

const makers = {
  async 'fastify-realtime' () {
    const { default: Fastify } = await import('fastify')
    const { default: realtime } = await import('fastify-realtime')
    const { redis } = await import('fastify-realtime/redis')
    const app = Fastify()
    await app.register(realtime, { adapter: redis({ url, prefix }) })
    const room = app.topic('rooms/:id', { history: { limit: 1000 } })
    app.channel('/rooms/:id', { topics: room })
    await app.listen({ port: 0, host: '127.0.0.1' })
    return { port: app.server.address().port, publish: (data) => { room.publish({ id: '1' }, 'said', data).catch(fail) } }
  },
  async 'socket.io redis-adapter' () {
    const { createAdapter } = await import('@socket.io/redis-adapter')
    const { Redis } = await import('ioredis')
    const client = new Redis(url)
    return await socketIo(createAdapter(client, client.duplicate(), { key: prefix }))
  },
  async 'socket.io redis-streams-adapter' () {
    const { createAdapter } = await import('@socket.io/redis-streams-adapter')
    const { Redis } = await import('ioredis')
    return await socketIo(createAdapter(new Redis(url), { streamName: prefix, maxLen: 1000 }))
  }
}

async function socketIo (adapter) {
  const { Server } = await import('socket.io')
  const http = createServer()
  const io = new Server(http, { adapter, transports: ['websocket'], perMessageDeflate: false })
  io.on('connection', (socket) => { socket.join('rooms/1') })
  await new Promise((resolve) => http.listen(0, '127.0.0.1', resolve))
  return { port: http.address().port, publish: (data) => { io.to('rooms/1').emit('said', data) } }
}

function fail (error) {
  console.error(error)
  process.exit(1)
}

const { port, publish } = await makers[kind]()

async function run ({ first, count, rate, burst }) {
  const started = process.hrtime.bigint()
  for (let i = 0; i < count; i += burst) {
    for (let n = i; n < i + burst; n++) publish({ n: first + n, at: String(process.hrtime.bigint()), filler: FILLER })
    const due = started + BigInt(Math.round((i + burst) / rate * 1e9))
    const left = Number(due - process.hrtime.bigint()) / 1e6
    // No busy wait: it would be counted. Late ones follow in turns of their own.
    if (left > 1) await sleep(left)
    else await turn()
  }
}

process.on('message', async ({ op, ...how }) => {
  if (op === 'run') await run(how)
  const { user, system } = process.cpuUsage()
  process.send({ done: op, cpu: user + system })
})
process.send({ done: 'ready', port })
