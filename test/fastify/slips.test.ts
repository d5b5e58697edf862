/** What is likely to be written by whoever knows another library: each is refused, and the error says what was meant. */
import Fastify, { type FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import realtime from '../../lib/index.ts'

interface Slip { what: string, code: string, says: RegExp, make: (house: House) => unknown }
interface House { app: Loose, news: Loose, room: Loose }
/** As JavaScript sees it: the compiler would refuse each of these. */
type Loose = Record<string, (...args: unknown[]) => unknown>

const app = async (t: Test): Promise<FastifyInstance> => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(realtime)
  return app
}

const slips: Slip[] = [
  {
    what: 'publish(event, data) of a topic without params',
    code: 'TOPIC_PARAMS',
    says: /They come first: \{\}, as in publish\(\{\}, event, data\)/,
    make: ({ news }) => news.publish?.('item', { text: 'hi' })
  },
  {
    what: 'publish(event, data) of a topic with params',
    code: 'TOPIC_PARAMS',
    says: /They come first: \{ id: … \}/,
    make: ({ room }) => room.publish?.('said', { text: 'hi' })
  },
  { what: 'publish(id, event, data)', code: 'TOPIC_PARAMS', says: /must be an object/, make: ({ room }) => room.publish?.('1', 'said', {}) },
  { what: 'a param of another name', code: 'TOPIC_PARAMS', says: /"id" is missing/, make: ({ room }) => room.publish?.({ roomId: '1' }, 'said', {}) },
  { what: 'publish(params, data)', code: 'EVENT_NAME_INVALID', says: /comes before the data/, make: ({ room }) => room.publish?.({ id: '1' }, { text: 'hi' }) },
  { what: 'publish(data)', code: 'EVENT_NAME_INVALID', says: /comes before the data/, make: ({ news }) => news.publish?.({ text: 'hi' }) },
  { what: 'history(limit)', code: 'TOPIC_PARAMS', says: /They come first/, make: ({ news }) => news.history?.(10) },
  { what: 'at(id)', code: 'TOPIC_PARAMS', says: /They come first/, make: ({ room }) => room.at?.('1') },
  { what: 'subscribe(params, callback)', code: 'OPTION_INVALID', says: /for await/, make: ({ news }) => news.subscribe?.({}, () => {}) },
  { what: 'realtime.publish(pattern, …)', code: 'TOPIC_UNKNOWN', says: /is a pattern/, make: ({ app }) => of(app).publish?.('rooms/:id', 'said', {}) },
  { what: 'realtime.publish(Topic, …)', code: 'TOPIC_UNKNOWN', says: /topic\.publish\(params/, make: ({ app, room }) => of(app).publish?.(room, 'said', {}) },
  { what: 'realtime.publish(event, data)', code: 'TOPIC_UNKNOWN', says: /Declare its pattern/, make: ({ app }) => of(app).publish?.('said', {}) },
  { what: 'disconnect(id)', code: 'TARGET', says: /\{ identity: "42" \}/, make: ({ app }) => of(app).disconnect?.('ada') },
  { what: 'disconnect({ user })', code: 'TARGET', says: /"user" is not known/, make: ({ app }) => of(app).disconnect?.({ user: 'ada' }) },
  { what: 'a pattern as OpenAPI writes it', code: 'PATTERN_INVALID', says: /is written ":id"/, make: ({ app }) => app.topic?.('users/{id}') },
  { what: 'a stream with "topic"', code: 'ROUTE_INVALID', says: /Did you mean "topics"\?/, make: ({ app, news }) => app.stream?.('/a', { topic: news }) },
  { what: 'a stream with a handler behind its options', code: 'ROUTE_INVALID', says: /publish to a topic/, make: ({ app, news }) => app.stream?.('/b', { topics: news }, () => {}) },
  { what: 'a stream that is a handler alone', code: 'ROUTE_INVALID', says: /"source"/, make: ({ app }) => app.stream?.('/c', () => {}) },
  { what: 'a channel that is a handler alone', code: 'ROUTE_INVALID', says: /"messages"/, make: ({ app }) => app.channel?.('/d', () => {}) },
  { what: 'a channel with a handler behind its options', code: 'ROUTE_INVALID', says: /"messages"/, make: ({ app, news }) => app.channel?.('/e', { topics: news }, () => {}) },
  { what: 'a channel with "message"', code: 'ROUTE_INVALID', says: /Did you mean "messages"\?/, make: ({ app }) => app.channel?.('/f', { message: {} }) },
  { what: 'a message that is a function', code: 'ROUTE_INVALID', says: /"handler"/, make: ({ app }) => app.channel?.('/g', { messages: { say: () => {} } }) },
  { what: 'a message that is a schema', code: 'ROUTE_INVALID', says: /"type", which is not known/, make: ({ app }) => app.channel?.('/h', { messages: { say: { type: 'object' } } }) }
]

function of (app: Loose): Loose {
  return app.realtime as unknown as Loose
}

for (const { what, code, says, make } of slips) {
  t.test(`${what} is refused, and told what was meant`, async (t) => {
    const built = await app(t)
    const house = { app: built, news: built.topic('news'), room: built.topic('rooms/:id') } as unknown as House
    await t.rejects(async () => await make(house), { code: `FST_ERR_REALTIME_${code}`, message: says })
  })
}
