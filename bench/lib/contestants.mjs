// Who takes part. Each starts a server and returns { port, path, wire, publish, cpu? }:
//   publish(events, topic)  every event, as { n, fill }, to every subscriber, in this turn of the event loop
//   beat()                  one round of heartbeats, where the server does not beat by itself
//   cpu()                   µs of CPU used so far, where that is not this process's
// Each is written as its own documentation shows it, with logs, compression and heartbeats off or far away.
import { once } from 'node:events'
import { createServer } from 'node:http'
import { startNchan } from './nchan.mjs'

const HOST = '127.0.0.1'

async function app () {
  const { default: Fastify } = await import('fastify')
  return Fastify()
}

async function listening (fastify, rest) {
  await fastify.listen({ port: 0, host: HOST })
  return { port: fastify.server.address().port, ...rest }
}

/** `declare` makes the routes and returns what else is said of the contestant. */
async function ours (declare, { heartbeat = 300_000 } = {}) {
  const { default: realtime } = await import('fastify-realtime')
  const fastify = await app()
  await fastify.register(realtime, { heartbeat, validate: false })
  return await listening(fastify, declare(fastify))
}

const told = (topic, params = {}) => (events) => { for (const event of events) topic.publish(params, 'tick', event) }

function oursStream (topicOptions) {
  return (options) => ours((fastify) => {
    const topic = fastify.topic('ticks', { ...topicOptions, ...options.topic })
    fastify.stream('/', { topics: topic })
    return { wire: 'sse', path: '/', publish: told(topic) }
  }, options)
}

function oursChannel (wire) {
  return (options) => ours((fastify) => {
    const topic = fastify.topic('ticks')
    fastify.channel('/', { topics: topic })
    return { wire, path: '/', publish: told(topic) }
  }, options)
}

/** A bare Fastify stream: what `write` does with each response is the contest. */
async function bareStream (message, write, beat) {
  const fastify = await app()
  const replies = new Set()
  fastify.get('/', (request, reply) => {
    reply.hijack()
    const { raw } = reply
    raw.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-cache' })
    raw.flushHeaders()
    replies.add(raw)
    raw.on('close', () => replies.delete(raw))
  })
  return await listening(fastify, {
    wire: 'sse',
    path: '/',
    publish: (events) => {
      for (const event of events) {
        const ready = message(event)
        for (const raw of replies) write(raw, ready)
      }
    },
    beat: () => { for (const raw of replies) write(raw, beat) }
  })
}

const block = (event) => `event: tick\ndata: ${JSON.stringify(event)}\n\n`
const chunk = (text) => Buffer.from(`${Buffer.byteLength(text).toString(16)}\r\n${text}\r\n`)

const flatText = (event) => JSON.stringify({ type: 'tick', ...event })

function broadcast (clients) {
  return {
    path: '/',
    wire: 'websocket',
    publish: (events) => {
      for (const event of events) {
        const text = flatText(event)
        for (const client of clients) client.send(text)
      }
    },
    beat: () => { for (const client of clients) client.ping() }
  }
}

export const contestants = {
  'ours, history off': oursStream({ history: false }),
  'ours, history on': oursStream({}),
  'ours, two topics': (options) => ours((fastify) => {
    const topics = [fastify.topic('a'), fastify.topic('b')]
    fastify.stream('/', { topics })
    // Between topics there is no order that could be checked.
    return { wire: 'sse', path: '/', publish: told(topics[0]) }
  }, options),
  'ours, many topics': (options) => ours((fastify) => {
    const topic = fastify.topic('ticks/:id')
    fastify.stream('/:id', { topics: topic })
    return { wire: 'sse', path: '/:topic', publish: (events, id) => told(topic, { id: String(id) })(events) }
  }, options),
  'ours, coalesce 20 ms': oursStream({ coalesce: 20 }),
  'ours, flat': oursChannel('websocket'),
  'ours, envelope': oursChannel('envelope'),

  'socket.write': () => bareStream((event) => chunk(block(event)), (raw, bytes) => raw.socket.write(bytes), chunk(':\n\n')),
  'reply.raw.write': () => bareStream(block, (raw, text) => raw.write(text), ':\n\n'),

  async '@fastify/sse' () {
    const { default: sse } = await import('@fastify/sse')
    const fastify = await app()
    await fastify.register(sse)
    const streams = new Set()
    fastify.get('/', { sse: true }, async (request, reply) => {
      reply.sse.keepAlive()
      reply.sse.sendHeaders()
      reply.raw.flushHeaders()
      streams.add(reply.sse)
      reply.sse.onClose(() => streams.delete(reply.sse))
    })
    return await listening(fastify, {
      wire: 'sse',
      path: '/',
      publish: (events) => { for (const data of events) for (const stream of streams) stream.send({ event: 'tick', data }).catch(() => {}) }
    })
  },

  async 'fastify-sse-v2' () {
    const { FastifySSEPlugin } = await import('fastify-sse-v2')
    const fastify = await app()
    await fastify.register(FastifySSEPlugin)
    const replies = new Set()
    fastify.get('/', (request, reply) => {
      reply.sse({ comment: 'open' })
      replies.add(reply)
      request.raw.on('close', () => replies.delete(reply))
    })
    return await listening(fastify, {
      wire: 'sse',
      path: '/',
      publish: (events) => {
        for (const event of events) {
          const data = JSON.stringify(event)
          for (const reply of replies) reply.sse({ event: 'tick', data })
        }
      }
    })
  },

  async 'better-sse' () {
    const { createSession, createChannel } = await import('better-sse')
    const channel = createChannel()
    const server = createServer(async (request, response) => channel.register(await createSession(request, response, { keepAlive: null })))
    server.listen(0, HOST)
    await once(server, 'listening')
    return {
      port: server.address().port,
      wire: 'sse',
      path: '/',
      publish: (events) => { for (const event of events) channel.broadcast(event, 'tick') }
    }
  },

  async '@fastify/websocket' () {
    const { default: websocket } = await import('@fastify/websocket')
    const fastify = await app()
    await fastify.register(websocket)
    fastify.get('/', { websocket: true }, () => {})
    return await listening(fastify, broadcast(fastify.websocketServer.clients))
  },

  async ws () {
    const { WebSocketServer } = await import('ws')
    const server = new WebSocketServer({ port: 0, host: HOST, perMessageDeflate: false })
    await once(server, 'listening')
    return { port: server.address().port, ...broadcast(server.clients) }
  },

  async 'socket.io' () {
    const { Server } = await import('socket.io')
    const http = createServer()
    const io = new Server(http, { transports: ['websocket'], perMessageDeflate: false, pingInterval: 300_000 })
    http.listen(0, HOST)
    await once(http, 'listening')
    return {
      port: http.address().port,
      wire: 'socket.io',
      path: '/socket.io/?EIO=4&transport=websocket',
      publish: (events) => { for (const event of events) io.emit('tick', event) }
    }
  },

  'nchan, eventsource': () => startNchan('sse'),
  'nchan, websocket': () => startNchan('websocket')
}
