/** What was ordered holds for whoever is on the way in when it is ordered, at whatever step, and on every way into a topic. */
import { connect as connectSocket, type AddressInfo } from 'node:net'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import t, { type Test } from 'tap'
import realtime, { memory, type CloseReason, type Connection, type RealtimeOptions } from '../../lib/index.ts'
import { connectChannel, connectStream, type ChannelClient, type StreamClient } from '../../lib/testing/index.ts'
import { openEnvelope, type Channel } from '../conformance/clients.ts'
import { bare, calls, gate, listen, live, refusalOf, talkTo } from '../helpers/app.ts'

type Client = ChannelClient | StreamClient

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
  'take a topic from an identity': async (app) => await app.realtime.unsubscribe({ identity: 'eve' }, 'rooms/held'),
  'take a topic from its listeners': async (app) => await app.realtime.unsubscribe({ topic: 'rooms/held' }, 'rooms/held')
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

// --- topics that were taken ----------------------------------------------------------------

t.test('a topic that was taken is joined again by nobody: not by the client, not by the app, not where it is the route\'s own', async (t) => {
  const app = await live(t, { identify: (request) => ({ id: String((request.query as { as?: string }).as) }) })
  const [own, other] = [app.topic('own/:id', { authorize: () => true }), app.topic('other/:id', { authorize: 'anyone' })]
  const plain = app.topic('plain/:id')
  app.channel('/:id', {
    topics: own,
    subscribe: other,
    messages: { join: { handler: async (data, { connection }) => await connection.subscribe((data as { topic: string }).topic).then(() => 'in', ({ code }: { code: string }) => code) } }
  })
  await listen(app)
  const asked = async (client: Channel, topic: string): Promise<unknown> => {
    client.send({ op: 'subscribe', topic, ref: topic })
    const { op, code } = await client.next({ ref: topic })
    return code ?? op
  }
  const give = async (client: Channel, topic: string): Promise<unknown> => {
    client.send({ event: 'join', data: { topic }, ref: topic })
    return (await client.next({ op: 'reply', ref: topic })).data
  }
  const come = async (name: string): Promise<Channel> => {
    const client = await openEnvelope(t, app, `/1?as=${name}`)
    await client.next({ op: 'subscribed' })
    return client
  }
  const [eve, ann] = [await come('eve'), await come('ann')]
  t.equal(await asked(eve, 'other/1'), 'subscribed')
  for (const topic of ['own/1', 'other/1']) {
    await app.realtime.unsubscribe({ identity: 'eve' }, topic)
    await eve.next({ op: 'unsubscribed', topic })
  }
  // Some that it was not in: an order is about a person, not about where the person is now.
  await app.realtime.unsubscribe({ identity: 'eve' }, other.at({ id: '2' }))
  await app.realtime.unsubscribe({ identity: 'eve' }, plain.at({ id: '1' }))
  for (const topic of ['own/1', 'other/1', 'other/2']) t.equal(await asked(eve, topic), 'FORBIDDEN', topic)
  for (const topic of ['own/1', 'other/1', 'other/2', 'plain/1']) t.equal(await give(eve, topic), 'FST_ERR_REALTIME_FORBIDDEN', topic)
  t.same(app.realtime.connections().find(({ identity }) => identity.id === 'eve')?.topics, [])
  for (const topic of ['other/1', 'other/2']) t.equal(await asked(ann, topic), 'subscribed')
  t.equal(await give(ann, 'plain/1'), 'in')
  t.equal(await asked(eve, 'other/3'), 'subscribed', 'others are not concerned')
  await eve.leave()
  const back = await come('eve')
  t.equal(await asked(back, 'other/1'), 'subscribed', 'who comes back is judged anew')
})

t.test('a topic that is left or taken while the client is being let into it is not joined, whoever joins it', async (t) => {
  const held: Array<() => void> = []
  const app = await live(t, { identify: () => ({ id: 'eve' }) })
  const slow = app.topic('slow/:id', { authorize: async () => { await new Promise<void>((resolve) => held.push(resolve)); return true } })
  app.topic('lobby')
  app.channel('/', {
    topics: 'lobby',
    subscribe: slow,
    messages: { join: { handler: async (data, { connection }) => await connection.subscribe((data as { topic: string }).topic).then(() => connection.topics, ({ code }: { code: string }) => code) } }
  })
  await listen(app)
  const client = await openEnvelope(t, app, '/')
  await client.next({ op: 'subscribed' })
  const [connection] = app.realtime.connections() as [Connection]
  const asked = async (): Promise<() => void> => {
    while (held.length === 0) await new Promise(setImmediate)
    return held.shift() as () => void
  }
  // [who joins, what happens meanwhile, the answer]
  const cases: Array<['client' | 'app', (topic: string) => unknown, unknown]> = [
    ['client', (topic) => connection.unsubscribe(topic), 'FORBIDDEN'],
    ['app', (topic) => connection.unsubscribe(topic), ['lobby']],
    ['client', async (topic) => await app.realtime.unsubscribe({ identity: 'eve' }, topic), 'FORBIDDEN'],
    ['app', async (topic) => await app.realtime.unsubscribe({ identity: 'eve' }, topic), 'FST_ERR_REALTIME_FORBIDDEN'],
    ['client', async (topic) => await app.realtime.unsubscribe({ topic }, topic), 'FORBIDDEN'],
    ['app', async (topic) => await app.realtime.unsubscribe({ topic, connection: connection.id }, topic), 'FST_ERR_REALTIME_FORBIDDEN'],
    ['client', async (topic) => await app.realtime.unsubscribe({ topic: 'slow/nobody' }, topic), 'subscribed'],
    ['client', async (topic) => await app.realtime.unsubscribe({ identity: 'ann' }, topic), 'subscribed']
  ]
  for (const [n, [who, meanwhile, answer]] of cases.entries()) {
    const topic = `slow/${n}`
    if (who === 'client') client.send({ op: 'subscribe', topic, ref: n })
    else client.send({ event: 'join', data: { topic }, ref: n })
    const letIn = await asked()
    await meanwhile(topic)
    letIn()
    const { op, code, data } = await client.next({ ref: n })
    t.same(data ?? code ?? op, answer, `${n}`)
    t.equal(app.realtime.countLocal(topic), answer === 'subscribed' ? 1 : 0)
    if (answer === 'subscribed') connection.unsubscribe(topic)
  }
  client.send({ op: 'subscribe', topic: 'slow/0', ref: 'again' })
  ;(await asked())()
  await client.next({ op: 'subscribed', ref: 'again' })
  client.send({ op: 'subscribe', topic: 'slow/ended' })
  const letIn = await asked()
  await app.realtime.disconnect({ topic: 'slow/ended' }, { code: 4001 })
  letIn()
  t.equal((await client.ended).code, 4001, 'who is about to listen to a topic is one of its listeners')
})

t.test('a topic of its own that the app leaves before the client has begun is not begun with', async (t) => {
  const opened = gate()
  const app = await live(t)
  app.topic('rooms/:id')
  app.stream('/', { topics: ['rooms/1', 'rooms/2'], onSend: async (_request: FastifyRequest, _reply: FastifyReply, payload: unknown) => { await opened.passed; return payload } })
  const connecting = connectStream(app, '/', { t })
  while (app.realtime.connections().length === 0) await new Promise(setImmediate)
  const [connection] = app.realtime.connections() as [Connection]
  for (let turns = 0; turns < 20; turns++) await new Promise(setImmediate)
  connection.unsubscribe('rooms/1')
  await connection.subscribe('rooms/2')
  opened.open()
  await connecting
  while (connection.topics.length === 0) await new Promise(setImmediate)
  t.same(connection.topics, ['rooms/2'])
  await connection.subscribe('rooms/1')
  t.same(connection.topics, ['rooms/2', 'rooms/1'], 'left is not taken')
})

t.test('more was taken from one connection than is kept: it is to come back', async (t) => {
  const app = await live(t, { identify: () => ({ id: 'eve' }) })
  app.topic('rooms/:id')
  app.channel('/', { topics: 'rooms/own' })
  const client = await talkTo(app, '/', { t })
  for (let n = 0; n < 1000; n++) await app.realtime.unsubscribe({ identity: 'eve' }, `rooms/${n}`)
  t.equal(app.realtime.connections().length, 1)
  await app.realtime.unsubscribe({ identity: 'eve' }, 'rooms/one-more')
  t.match((await client.next('realtime:bye')).data, { code: 1013, reconnect: true })
  t.equal((await client.ended).code, 1013)
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

/** An app whose node finds that it has lost orders when it is told to. */
async function forgetful (t: Test, options: RealtimeOptions = {}): Promise<{ app: FastifyInstance, lose: () => void }> {
  const adapter = memory()
  const [start, read] = [adapter.start.bind(adapter), adapter.read.bind(adapter)]
  let [lost, sink] = [false, undefined as Parameters<typeof start>[0] | undefined]
  adapter.start = async (own) => { await start(sink = own) }
  adapter.read = async (topic, after, limits) => {
    const page = await read(topic, after, limits)
    return lost && topic === 'realtime:control' ? { ...page, linked: false } : page
  }
  const app = await live(t, { adapter, ...options })
  const lose = (): void => {
    lost = true
    sink?.suspect(['realtime:control'])
    setImmediate(() => { lost = false })
  }
  return { app, lose }
}

t.test('orders were lost: who can be asked about is asked again, and all others come back, to be judged anew', async (t) => {
  const { app, lose } = await forgetful(t, { retry: 200, identify: (request) => ({ id: String(request.headers.as) }) })
  const asked: string[] = []
  const banned = new Set<string>()
  const secret = app.topic('secret/:id', {
    authorize: async (request, { topic }) => {
      asked.push(`${request.headers.as} ${topic}`)
      if (banned.has('broken')) throw Object.assign(new Error('the database is away'), { statusCode: 503 })
      return !banned.has(String(request.headers.as))
    }
  })
  const [plain, open] = [app.topic('plain'), app.topic('open', { authorize: 'anyone' })]
  const reasons = new Map<string, string>()
  const route = { onDisconnect: ({ identity }: Connection, { name, reconnect }: CloseReason) => { reasons.set(identity.id, `${name} ${reconnect}`) } }
  app.stream('/asked', { topics: secret.at({ id: '1' }), ...route })
  app.stream('/hooks', { topics: plain, ...route })
  app.stream('/both', { topics: [secret.at({ id: '1' }), plain], ...route })
  app.stream('/anyone', { topics: open, ...route })
  app.stream('/source', { source: async function * (_request, { signal }) { yield { data: 'x' }; await new Promise((resolve) => signal.addEventListener('abort', resolve)) }, ...route })
  app.channel('/talk', { messages: { hello: { handler: () => {} } }, ...route })
  app.channel('/asked-channel', { topics: secret.at({ id: '2' }), ...route })
  const as = (name: string) => ({ t, headers: { as: name } })
  const clients: Record<string, Client> = {
    ann: await connectStream(app, '/asked', as('ann')),
    eve: await connectStream(app, '/asked', as('eve')),
    hooks: await connectStream(app, '/hooks', as('hooks')),
    both: await connectStream(app, '/both', as('both')),
    anyone: await connectStream(app, '/anyone', as('anyone')),
    source: await connectStream(app, '/source', as('source')),
    talk: await connectChannel(app, '/talk', as('talk')),
    channel: await connectChannel(app, '/asked-channel', { ...as('channel'), format: 'envelope' })
  }
  await (clients.channel as ChannelClient).next('realtime:subscribed')
  const before = asked.length
  banned.add('eve')
  lose()
  for (const [name, reason] of [['hooks', 'judged-anew true'], ['both', 'judged-anew true'], ['anyone', 'judged-anew true'], ['source', 'judged-anew true'], ['talk', 'judged-anew true'], ['eve', 'forbidden false']] as const) {
    await clients[name]?.ended
    t.equal(reasons.get(name), reason, name)
  }
  t.same(asked.slice(before).sort(), ['ann secret/1', 'channel secret/2', 'eve secret/1'])
  t.same(app.realtime.connections().map(({ identity }) => identity.id).sort(), ['ann', 'channel'])
  await app.realtime.publish('secret/1', 'said', 1)
  t.equal((await clients.ann?.next('said'))?.data, 1)
  banned.add('broken')
  lose()
  await Promise.all([clients.ann?.ended, clients.channel?.ended])
  t.equal(reasons.get('ann'), 'try-again-later true', 'what cannot be asked now is no refusal')
})

t.test('orders were lost: who is on the way in comes back', async (t) => {
  const { app, lose } = await forgetful(t, { retry: 200 })
  const [held, passed] = [gate(), gate()]
  app.topic('news')
  const preHandler = async (request: FastifyRequest): Promise<void> => {
    if (request.headers.hold === undefined) return
    held.open()
    await passed.passed
  }
  app.stream('/stream', { topics: 'news', preHandler })
  const [entered, mayEnter] = [gate(), gate()]
  app.channel('/channel', { topics: 'news', onConnect: async () => { entered.open(); await mayEnter.passed } })
  await app.ready()
  const stream = app.inject({ url: '/stream', headers: { accept: 'text/event-stream', hold: '1' } })
  const channel = await connectChannel(app, '/channel', { t })
  await Promise.all([held.passed, entered.passed])
  lose()
  t.equal((await channel.ended).code, 1013)
  passed.open()
  mayEnter.open()
  t.match((await stream).body, /^retry: \d+\n\n$/)
  t.same(app.realtime.connections(), [])
  await connectStream(app, '/stream', { t })
})
