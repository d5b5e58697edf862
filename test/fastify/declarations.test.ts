/** Declarations: what makes no sense is refused where it is declared, by its name. */
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import realtime, { type RealtimeOptions, type TopicOptions } from '../../lib/index.ts'
import { connectChannel, connectStream } from '../../lib/testing/index.ts'
import { bare, codeOf, live, refusalOf, talkTo } from '../helpers/app.ts'

t.test('a wrong option fails the registration and is named', async (t) => {
  const wrong: Array<[string, Record<string, unknown>]> = [
    ['adapter', { adapter: {} }],
    ['adapter', { adapter: 'redis://localhost' }],
    ['identify', { identify: 'user' }],
    ['history', { history: 'yes' }],
    ['history', { history: true }],
    ['history.limit', { history: { limit: 0 } }],
    ['history.maxAge', { history: { maxAge: '1 day' } }],
    ['history.maxBytes', { history: { maxBytes: 1.5 } }],
    ['history.max', { history: { max: 5 } }],
    ['ringBytes', { ringBytes: -1 }],
    ['heartbeat', { heartbeat: 0 }],
    ['heartbeat', { heartbeat: 300_001 }],
    ['retry', { retry: -1 }],
    ['open', { open: true }],
    ['maxBuffered', { maxBuffered: 10 }],
    ['maxBuffered', { maxBuffered: 65_536 }],
    ['maxEventBytes', { maxEventBytes: 0 }],
    ['maxTopics', { maxTopics: 1001 }],
    ['maxConnections', { maxConnections: 0 }],
    ['maxConnectionsPerAddress', { maxConnectionsPerAddress: Number.NaN }],
    ['maxConnectionsPerIdentity', { maxConnectionsPerIdentity: 0 }],
    ['leaveTimeout', { leaveTimeout: 0 }],
    ['leaveTimeout', { leaveTimeout: Infinity }],
    ['slow', { slow: 'drop' }],
    ['closeTimeout', { closeTimeout: '5s' }],
    ['validate', { validate: 1 }],
    ['origins', { origins: 'https://app.example' }],
    ['origins', { origins: ['app.example'] }],
    ['origins', { origins: ['https://app.example/path'] }],
    ['limits', { limits: 5 }],
    ['limits.messageBytes', { limits: { messageBytes: 0 } }],
    ['limits.messagesPerSecond', { limits: { messagesPerSecond: 0 } }],
    ['limits.burst', { limits: { burst: null, messages: 1 } }],
    ['limits.faults', { limits: { faults: -5 } }],
    ['limits.queue', { limits: { queue: 0.5 } }],
    ['limits.rate', { limits: { rate: 5 } }],
    ['websocket', { websocket: 'no' }],
    ['heartBeat', { heartBeat: 1000 }]
  ]
  for (const [name, options] of wrong) {
    const app = bare(t)
    const error = await app.register(realtime, options as RealtimeOptions).then(() => undefined, (error: unknown) => error) as { code?: string, message?: string }
    t.equal(error?.code, 'FST_ERR_REALTIME_OPTION_INVALID', `${name}: ${JSON.stringify(options)}`)
    const named = name === 'limits.burst' ? /"limits\.messages"/ : new RegExp(`"${name}"`)
    t.match(error?.message, named)
  }
})

t.test('every option that Fastify\'s register takes for itself is let through', async (t) => {
  const app = bare(t)
  await app.register(realtime, { prefix: '/live', logLevel: 'warn' } as RealtimeOptions)
  t.ok(app.realtime)
})

t.test('a pattern that could not be matched without doubt is refused where it is declared', async (t) => {
  const app = await live(t)
  const wrong = ['', '/news', 'news/', 'a//b', 'a/:', 'a/:id(\\d+)', 'a/:id?', 'a/:id-:other', 'a/*/b', 'a/b*', 'a/:x/:x', 'a b',
    'a/%20', 'a/..', 'a/.', 'a?b', 'a#b', 'a;b', 'a\nb', 'a\0b', 'realtime:control', 'x'.repeat(256), '\ud800']
  for (const pattern of wrong) t.equal(await codeOf(() => app.topic(pattern)), 'FST_ERR_REALTIME_PATTERN_INVALID', JSON.stringify(pattern))
  t.equal(await codeOf(() => app.topic(5 as never)), 'FST_ERR_REALTIME_PATTERN_INVALID')
  for (const pattern of ['news', 'news/:id', 'a-b_c.d/:id/*', 'größe/:id', '*']) t.equal(app.topic(pattern).pattern, pattern)
})

t.test('a pattern declared twice is refused, also under other names for its params and in another scope', async (t) => {
  const app = await live(t)
  app.topic('rooms/:id')
  t.equal(await codeOf(() => app.topic('rooms/:id')), 'FST_ERR_REALTIME_PATTERN_TAKEN')
  t.equal(await codeOf(() => app.topic('rooms/:roomId')), 'FST_ERR_REALTIME_PATTERN_TAKEN')
  t.equal(await codeOf(() => app.register(async (child) => { child.topic('rooms/:room') })), 'FST_ERR_REALTIME_PATTERN_TAKEN')
})

t.test('event names, schemas and options of a topic are checked where it is declared', async (t) => {
  const app = await live(t)
  for (const event of ['error', 'open', 'realtime:open', '', 'a\nb', 'a\rb', 'a\0b']) {
    t.equal(await codeOf(() => app.topic(`events/${encodeURIComponent(event).replaceAll('%', '-')}`, { events: { [event]: {} } })),
      'FST_ERR_REALTIME_EVENT_NAME_INVALID', JSON.stringify(event))
  }
  const wrong: object[] = [{ event: {} }, { history: { size: 5 } }, { history: 5 }, { authorize: true }, { authorize: 'anybody' }, { authorize: null }, { authorize: 'token' }, { snapshot: 'now' }, { events: [] }, { history: false, snapshot: () => 1 }]
  for (const options of wrong) {
    t.equal(await codeOf(() => app.topic('wrong', options as TopicOptions<object, never>)), 'FST_ERR_REALTIME_OPTION_INVALID', JSON.stringify(options))
  }
  app.topic('wrong', { events: { said: { type: 'nonsense' } } })
  t.equal(await codeOf(() => app.ready()), 'FST_ERR_REALTIME_SCHEMA_INVALID')
})

t.test('a stream that makes no sense is refused where it is declared', async (t) => {
  const app = await live(t)
  const news = app.topic('news')
  const source = () => []
  const wrong: Array<[string, unknown]> = [
    ['ROUTE_INVALID', undefined],
    ['ROUTE_INVALID', null],
    ['ROUTE_INVALID', {}],
    ['ROUTE_INVALID', { topics: news, source }],
    ['ROUTE_INVALID', { source: 'later' }],
    ['ROUTE_INVALID', { topics: 5 }],
    ['ROUTE_INVALID', { topics: [news, null] }],
    ['ROUTE_INVALID', { topics: news, method: 'PUT' }],
    ['ROUTE_INVALID', { topics: news, method: [] }],
    ['ROUTE_INVALID', { topics: news, method: ['GET', 'DELETE'] }],
    ['ROUTE_INVALID', { topics: news, handler: 'json' }],
    ['ROUTE_INVALID', { topics: news, onConnect: true }],
    ['ROUTE_INVALID', { topics: news, onDisconnect: 'bye' }],
    ['OPTION_INVALID', { topics: news, retry: 'soon' }],
    ['OPTION_INVALID', { topics: news, heartbeat: 1 }],
    ['OPTION_INVALID', { topics: news, maxBuffered: 1 }],
    ['OPTION_INVALID', { topics: news, slow: 'drop' }],
    ['OPTION_INVALID', { topics: news, open: 'yes' }]
  ]
  for (const [code, options] of wrong) {
    t.equal(await codeOf(() => app.stream('/wrong', options as never)), `FST_ERR_REALTIME_${code}`, JSON.stringify(options))
  }
  app.stream('/right', { topics: news })
  t.equal(await codeOf(() => app.stream('/right', { topics: news })), 'FST_ERR_DUPLICATED_ROUTE')
  app.stream('/wrong', { topics: news })
  t.ok(await (await connectStream(app, '/wrong', { t })).next('realtime:open'), 'none of the attempts left a route behind')
})

t.test('a channel that makes no sense is refused where it is declared', async (t) => {
  const app = await live(t)
  const news = app.topic('news')
  const handler = () => {}
  const wrong: Array<[string, unknown]> = [
    ['ROUTE_INVALID', undefined],
    ['ROUTE_INVALID', {}],
    ['ROUTE_INVALID', { topics: 5 }],
    ['ROUTE_INVALID', { topics: news, method: 'POST' }],
    ['ROUTE_INVALID', { subscribe: 'news' }],
    ['ROUTE_INVALID', { subscribe: news }],
    ['ROUTE_INVALID', { subscribe: [app.topic('open/:id', { authorize: 'anyone' }), news] }],
    ['ROUTE_INVALID', { topics: news, onConnect: true }],
    ['ROUTE_INVALID', { binary: true }],
    ['ROUTE_INVALID', { messages: { bid: {} } }],
    ['ROUTE_INVALID', { messages: { bid: { handler, relay: true } } }],
    ['ROUTE_INVALID', { messages: { error: { handler } } }],
    ['ROUTE_INVALID', { messages: { 'realtime:x': { handler } } }],
    ['OPTION_INVALID', { topics: news, limits: { messageBytes: 'much' } }],
    ['OPTION_INVALID', { topics: news, limits: { size: 5 } }],
    ['OPTION_INVALID', { topics: news, origins: ['example.org'] }],
    ['OPTION_INVALID', { topics: news, slow: 'drop' }],
    ['OPTION_INVALID', { topics: news, heartbeat: -1 }]
  ]
  for (const [code, options] of wrong) {
    t.equal(await codeOf(() => app.channel('/wrong', options as never)), `FST_ERR_REALTIME_${code}`, JSON.stringify(options))
  }
  const typed = app.topic('typed', { events: { said: { type: 'object', properties: { type: { type: 'string' } } } } })
  const text = app.topic('text', { events: { said: { type: 'string' } } })
  t.equal(await codeOf(() => app.channel('/wrong', { topics: typed })), 'FST_ERR_REALTIME_SCHEMA_INVALID')
  t.equal(await codeOf(() => app.channel('/wrong', { topics: text })), 'FST_ERR_REALTIME_SCHEMA_INVALID')
})

t.test('what a route names is checked before the app is ready', async (t) => {
  const faults: Array<[string, (app: FastifyInstance) => unknown]> = [
    ['TOPIC_UNDECLARED', (app) => app.stream('/x', { topics: 'nowhere' })],
    ['TOPIC_UNDECLARED', (app) => app.channel('/x', { topics: 'nowhere/:id' })],
    ['TOPIC_UNDECLARED', (app) => app.stream('/x/:id', { topics: ['rooms/:id', 'room/:id'] })],
    ['TOPIC_UNDECLARED', (app) => app.stream('/x', { topics: 'nowhere?x' })],
    ['TOPIC_PARAMS_MISSING', (app) => app.stream('/x', { topics: 'rooms/:id' })],
    ['TOPIC_PARAMS_MISSING', (app) => app.stream('/x/:identity', { topics: 'rooms/:id' })],
    ['TOPIC_PARAMS_MISSING', (app) => app.stream('/x/:id', { topics: 'files/*' })],
    ['TOPIC_PARAMS_MISSING', (app) => app.channel('/x', { topics: app.topic('carts/:cartId') })],
    ['TOO_MANY_TOPICS', (app) => app.stream('/x', { topics: Array.from({ length: 65 }, (_, index) => app.topic(`many-${index}`)) })],
    ['SCHEMA_INVALID', (app) => app.channel('/x', { messages: { bid: { schema: { type: 'nonsense' }, handler () {} } } })]
  ]
  for (const [code, declare] of faults) {
    const app = await live(t)
    app.topic('rooms/:id')
    app.topic('files/*')
    declare(app)
    t.equal(await codeOf(() => app.ready()), `FST_ERR_REALTIME_${code}`, declare.toString())
  }
})

t.test('a topic may be declared after the route that names it, and the URL\'s own params fill it', async (t) => {
  const app = await live(t)
  app.stream('/shops/:shop/files/*', { topics: ['shops/:shop', 'files/*'] })
  const shop = app.topic('shops/:shop')
  const files = app.topic('files/*')
  const client = await connectStream(app, '/shops/7/files/a/b.txt', { t })
  await shop.publish({ shop: '7' }, 'opened', 1)
  await files.publish({ '*': 'a/b.txt' }, 'saved', 2)
  t.equal((await client.next('opened')).data, 1)
  t.equal((await client.next('saved')).data, 2)
})

t.test('once the app is ready, nothing more is declared', async (t) => {
  const app = await live(t)
  const news = app.topic('news')
  await app.ready()
  t.equal(await codeOf(() => app.topic('late')), 'FST_ERR_REALTIME_ALREADY_STARTED')
  t.equal(await codeOf(() => app.stream('/late', { topics: news })), 'FST_ERR_INSTANCE_ALREADY_LISTENING')
  t.equal(await codeOf(() => app.channel('/late', { topics: news })), 'FST_ERR_INSTANCE_ALREADY_LISTENING')
})

t.test('a hostile param reaches no topic but its own', async (t) => {
  const app = await live(t, {}, { routerOptions: { maxParamLength: 20_000 } })
  const item = app.topic('items/:id')
  const secret = app.topic('items/:id/secret')
  const special = app.topic('items/special')
  const rest = app.topic('files/*')
  const root = app.topic('items')
  app.stream('/by-topic/:id', { topics: item })
  app.stream('/by-name/:id', { topics: 'items/:id' })
  app.stream('/files/*', { topics: rest })
  app.stream('/files-by-name/*', { topics: 'files/*' })
  app.channel('/talk/:id', { topics: item })
  for (const [name, topics] of Object.entries({ secret: 'items/:id/secret', root: 'items', special: 'items/special' })) {
    app.stream(name === 'secret' ? '/watch/secret/:id' : `/watch/${name}`, { topics })
  }
  await app.ready()

  const told = ['42%2Fsecret', '42/secret', '%2E%2E', '..%2F42', '42%00', '%00', '42%3Fx', '42%23', '42%3B', '42%252Fsecret', '*', '%3Aid', '%2A', '%C3%A9', '42%0d%0aevent:x', '.']
  for (const hostile of told) {
    let id: string
    try {
      id = decodeURIComponent(hostile)
    } catch {
      id = hostile
    }
    for (const route of ['by-topic', 'by-name']) {
      if (hostile === '42/secret') {
        t.equal((await app.inject(`/${route}/42/secret`)).statusCode, 404, 'a real "/" is another URL')
        continue
      }
      const client = await connectStream(app, `/${route}/${hostile}`, { t })
      // Every other topic first; then its own, as the sentinel: nothing may have come before it.
      await secret.publish({ id: '42' }, 'leak', 'secret')
      await special.publish({}, 'leak', 'special')
      await root.publish({}, 'leak', 'root')
      if (id !== '42') await item.publish({ id: '42' }, 'leak', 'item')
      await item.publish({ id }, 'own', id)
      t.equal((await client.next()).data, id, `${route} ${hostile}`)
      await client.close()
    }
  }

  const talk = await talkTo(app, '/talk/42%2Fsecret', { t })
  await secret.publish({ id: '42' }, 'leak', {})
  await item.publish({ id: '42/secret' }, 'own', {})
  t.equal((await talk.next()).event, 'own')

  for (const route of ['by-topic', 'by-name']) {
    const answers = [
      ['special', [400]], ['x'.repeat(10_000), [400, 404]], ['%', [400]], ['42%', [400]], ['%E0%A4%A', [400]], ['%ff', [400]], ['%ed%a0%80', [400]], ['', [400, 404]]
    ] as const
    for (const [hostile, statuses] of answers) {
      const { statusCode } = await app.inject({ url: `/${route}/${hostile}`, headers: { accept: 'text/event-stream' }, payloadAsStream: true })
      t.ok((statuses as readonly number[]).includes(statusCode), `${route} ${hostile.slice(0, 20)}: ${statusCode}`)
    }
  }
  const refused = await refusalOf(connectChannel(app, '/talk/special', { t }))
  t.match(refused, { statusCode: 400, body: { code: 'FST_ERR_REALTIME_TOPIC_PARAMS' } })

  for (const route of ['files', 'files-by-name']) {
    const up = await connectStream(app, `/${route}/..%2F..%2Fitems%2F42`, { t })
    await item.publish({ id: '42' }, 'leak', 1)
    await rest.publish({ '*': 'items/42' }, 'leak', 1)
    await rest.publish({ '*': '../../items/42' }, 'own', 1)
    t.equal((await up.next()).event, 'own', route)
  }
})
