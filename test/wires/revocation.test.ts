/** What was ordered holds for whoever is on the way in when it is ordered, at whatever step, and on every way into a topic. */
import { connect as connectSocket, type AddressInfo } from 'node:net'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import t, { type Test } from 'tap'
import realtime, { memory, type Connection } from '../../lib/index.ts'
import { connectChannel, connectStream } from '../../lib/testing/index.ts'
import { bare, calls, gate, refusalOf, talkTo } from '../helpers/app.ts'
import type { Client } from '../helpers/revocation.ts'

/** Steps on the way in, in their order. At each of them the client can be held. */
const STEPS = ['a hook before the plugin\'s', 'a hook behind it', 'preHandler', 'topics', 'authorize', 'identify', 'onConnect', 'history', 'onSend'] as const

type Step = typeof STEPS[number]

interface Way {
  app: FastifyInstance
  /** Resolves when a client is held. */
  held: Promise<void>
  letGo: () => void
}

/** An app that holds clients with `?hold` at one step. All of `rooms/1` is secret from whoever an order concerns. */
async function way (t: Test, step: Step): Promise<Way> {
  const [held, passed] = [gate(), gate()]
  const at = async (here: Step, request: FastifyRequest | undefined): Promise<void> => {
    if (here !== step || (request && !request.url.includes('hold'))) return
    held.open()
    await passed.passed
  }
  const adapter = memory()
  const subscribe = adapter.subscribe.bind(adapter)
  // The room of the one that is held is its own: whoever else listens has opened another.
  adapter.subscribe = async (topic, durable) => {
    if (topic === 'rooms/held') await at('history', undefined)
    return await subscribe(topic, durable)
  }
  const app = bare(t)
  app.addHook('onRequest', async (request) => await at('a hook before the plugin\'s', request))
  await app.register(realtime, {
    adapter,
    closeTimeout: 1000,
    async identify (request) {
      await at('identify', request)
      return { id: String((request.query as { as?: string }).as) }
    }
  })
  app.addHook('onRequest', async (request) => await at('a hook behind it', request))
  const room = app.topic('rooms/:id', {
    async authorize (request) {
      await at('authorize', request)
      return true
    }
  })
  const route = {
    preHandler: async (request: FastifyRequest) => await at('preHandler', request),
    onSend: async (request: FastifyRequest, _reply: FastifyReply, payload: unknown) => { await at('onSend', request); return payload },
    topics: async (request: FastifyRequest) => { await at('topics', request); return room.at(request.params as { id: string }) },
    onConnect: async (_connection: Connection, request: FastifyRequest) => await at('onConnect', request)
  }
  app.stream('/stream/:id', route)
  app.channel('/channel/:id', { ...route, subscribe: room })
  return { app, held: held.passed, letGo: () => passed.open() }
}

const ORDERS: Record<string, (app: FastifyInstance) => Promise<void>> = {
  'disconnect an identity': async (app) => await app.realtime.disconnect({ identity: 'eve' }),
  'disconnect the listeners of a topic': async (app) => await app.realtime.disconnect({ topic: 'rooms/held' }),
  'take a topic from an identity': async (app) => await app.realtime.revoke({ identity: 'eve' }, 'rooms/held'),
  'take a topic from its listeners': async (app) => await app.realtime.revoke({ topic: 'rooms/held' }, 'rooms/held')
}

const WIRES: Record<string, (t: Test, app: FastifyInstance, cursor: string) => Promise<Client>> = {
  stream: async (t, app, cursor) => await connectStream(app, '/stream/held?as=eve&hold', { t, headers: { 'last-event-id': cursor } }),
  envelope: async (t, app, cursor) => await connectChannel(app, '/channel/held?as=eve&hold', { t, format: 'envelope', cursors: { 'rooms/held': cursor } }),
  flat: async (t, app) => await connectChannel(app, '/channel/held?as=eve&hold', { t })
}

for (const [wire, connect] of Object.entries(WIRES)) {
  for (const step of STEPS) {
    // An upgrade has no response to send.
    if (step === 'onSend' && wire !== 'stream') continue
    t.test(`${wire}: who is held in ${step} when an order is given hears nothing of what it takes`, async (t) => {
      for (const [what, order] of Object.entries(ORDERS)) {
        const { app, held, letGo } = await way(t, step)
        await app.ready()
        const { id } = await app.realtime.publish('rooms/held', 'before', 'secret')
        await app.realtime.publish('rooms/held', 'missed', 'secret')
        const connecting = connect(t, app, id as string)
        await held
        await order(app)
        letGo()
        const client = await connecting.catch((error: Error & { statusCode?: number }) => {
          if (error.statusCode === undefined) throw error
        })
        if (what.startsWith('disconnect')) {
          await client?.ended
          t.same(app.realtime.connections(), [], what)
        }
        await app.realtime.publish('rooms/held', 'after', 'secret')
        t.equal(app.realtime.countLocal('rooms/held'), 0, what)
        await app.close()
        await client?.ended
        t.notMatch(JSON.stringify(client?.events ?? []), /secret/, what)
        for (const later of ['before', 'missed', 'after']) t.notMatch(JSON.stringify(client?.events ?? []), `"${later}"`)
      }
    })
  }
}

t.test('who comes behind an order is judged by hooks and authorize alone', async (t) => {
  const { app } = await way(t, 'topics')
  await app.ready()
  for (const order of Object.values(ORDERS)) {
    await order(app)
    const clients = [await connectStream(app, '/stream/held?as=eve', { t }), await talkTo(app, '/channel/held?as=eve', { t })]
    await app.realtime.publish('rooms/held', 'after', 'hello')
    for (const client of clients) t.equal((await client.next('after')).data, 'hello')
    await Promise.all(clients.map(async (client) => await client.close()))
  }
})

t.test('it is the moment of arrival that counts: on a second server, injected, rewritten, and routed twice', async (t) => {
  const held: Array<() => void> = []
  const app = bare(t, { rewriteUrl: ({ url }: { url: string }) => url.replace('/old', '/news') })
  app.addHook('onRequest', async (request) => {
    if (request.headers.hold !== undefined) await new Promise<void>((resolve) => held.push(resolve))
  })
  await app.register(realtime, { closeTimeout: 1000, identify: () => ({ id: 'eve' }) })
  app.topic('news')
  app.stream('/news', { topics: 'news' })
  app.get('/proxy', (request, reply) => {
    reply.hijack()
    delete request.headers.hold
    request.raw.url = '/news'
    app.routing(request.raw, reply.raw)
  })
  // Two servers, where the machine knows both addresses of localhost.
  await app.listen({ port: 0, host: 'localhost' })
  const order = async (count: number): Promise<void> => {
    while (held.length < count) await new Promise(setImmediate)
    await app.realtime.disconnect({ identity: 'eve' })
    for (const letGo of held.splice(0)) letGo()
  }
  const over = async (host: string, port: number, url: string): Promise<string> => await new Promise((resolve, reject) => {
    const socket = connectSocket({ port, host })
    let text = ''
    t.teardown(() => { socket.destroy() })
    socket.setEncoding('latin1').on('data', (chunk: string) => { text += chunk }).on('error', reject).on('close', () => resolve(text))
    socket.write(`GET ${url} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\naccept: text/event-stream\r\nhold: 1\r\n\r\n`)
  })
  const addresses = (app as unknown as { addresses: () => AddressInfo[] }).addresses()
  for (const { address, port } of addresses) {
    for (const url of ['/news', '/old', '/proxy']) {
      if (url === '/proxy' && port !== (app.server.address() as AddressInfo).port) continue
      const answer = over(address, port, url)
      await order(1)
      t.notMatch(await answer, 'event: after', `${address} ${url}`)
      t.equal(app.realtime.countLocal('news'), 0)
    }
  }
  const injected = app.inject({ url: '/news', headers: { accept: 'text/event-stream', hold: '1' } })
  await order(1)
  await injected
  t.same(app.realtime.connections(), [])
})

// --- what cannot be known ------------------------------------------------------------------

t.test('who was on the way in for longer than orders are remembered is refused for now', async (t) => {
  const [held, passed] = [calls(), gate()]
  const app = bare(t)
  app.addHook('onRequest', async (request) => {
    if (request.headers.hold === undefined) return
    held.note(undefined)
    await passed.passed
  })
  await app.register(realtime, { closeTimeout: 1000, identify: () => ({ id: 'eve' }) })
  app.topic('news')
  app.stream('/stream', { topics: 'news' })
  app.channel('/channel', { topics: 'news' })
  await app.ready()
  const stream = app.inject({ url: '/stream', headers: { accept: 'text/event-stream', hold: '1' } })
  const plain = app.inject({ url: '/stream', headers: { hold: '1' } })
  const channel = connectChannel(app, '/channel', { t, headers: { hold: '1' } })
  await held.reach(3)
  await app.realtime.disconnect({ identity: 'eve' })
  for (let n = 0; n < 10_000; n++) await app.realtime.disconnect({ identity: 'somebody-else' })
  passed.open()
  const { statusCode, body } = await stream
  t.equal(statusCode, 200, 'an EventSource would never come back from anything else')
  t.match(body, /^retry: \d+\n\n$/)
  t.match(await plain, { statusCode: 503 })
  t.match(await refusalOf(channel), { statusCode: 503, body: { code: 'FST_ERR_REALTIME_UNAVAILABLE' } })
  t.same(app.realtime.connections(), [])
  await connectStream(app, '/stream', { t })
})
