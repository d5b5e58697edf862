/** The AsyncAPI document of an app's declarations. */
import type { FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import { Type } from 'typebox'
import { z } from 'zod'
import asyncapiRoute, { asyncapi, type AsyncApiRouteOptions } from '../../lib/asyncapi/index.ts'
import { documentOf as makeDocument } from '../../lib/asyncapi/document.ts'
import { JsonSchemas } from '../../lib/asyncapi/json-schemas.ts'
import { bare, live } from '../helpers/app.ts'

type Node = Record<string, any> // eslint-disable-line @typescript-eslint/no-explicit-any -- a document is read as it comes

function declare (app: FastifyInstance): void {
  app.addSchema({ $id: 'price', type: 'object', properties: { cents: { type: 'integer' } }, required: ['cents'] })
  const auction = app.topic('auctions/:id', {
    authorize: () => true,
    events: { bid: Type.Object({ amount: Type.Number() }), cursor: { type: 'object' }, sold: { type: 'object', properties: { price: { $ref: 'price#' } } } },
    presence: true
  })
  const prices = app.topic('prices', { authorize: () => true, keyed: true })
  const files = app.topic('files/*', { authorize: () => true, history: false })
  app.stream('/auctions/:id/events', { topics: [auction, 'prices'], schema: { querystring: { type: 'object', properties: { since: { type: 'string' } } } } })
  app.channel('/auctions/:id', { http: true, topics: auction, subscribe: [prices, files], messages: { bid: { schema: Type.Object({ amount: Type.Number() }), handler: () => 'ok' }, cursor: { relay: { topic: auction } } } })
  app.stream('/answers', { source: async function * () { yield { data: 1 } } })
  app.stream('/mine', { topics: () => 'prices' })
}

async function documentOf (t: Test): Promise<Node> {
  const app = await live(t)
  declare(app)
  await app.ready()
  return asyncapi(app, { info: { title: 'Auctions', version: '1.2.3' }, servers: { here: { host: 'localhost:3000', protocol: 'http' } } })
}

t.test('topics are channels: their address, their params, and each event in each format', async (t) => {
  const { asyncapi: version, info, servers, channels } = await documentOf(t)
  t.same([version, info, servers], ['3.0.0', { title: 'Auctions', version: '1.2.3' }, { here: { host: 'localhost:3000', protocol: 'http' } }])
  t.match(channels['auctions_id'], { address: 'auctions/{id}', parameters: { id: {} }, 'x-fastify-realtime': { history: true, keyed: false, presence: 'members' } })
  t.same(Object.keys(channels['auctions_id'].messages), ['', '.flat', '.envelope'].flatMap((format) => ['bid', 'cursor', 'sold'].map((name) => name + format)))
  const { bid, 'bid.flat': flat, 'bid.envelope': envelope } = channels['auctions_id'].messages
  t.match(bid.payload, { type: 'object', properties: { amount: { type: 'number' } }, required: ['amount'] })
  t.match(flat.payload.allOf[0], { properties: { type: { const: 'bid' } }, required: ['type'] })
  t.match(envelope.payload.properties, { event: { const: 'bid' }, id: {}, prev: {}, data: { properties: { amount: {} } } })
  t.equal(channels['files'].address, 'files/{rest}')
  t.notOk('id' in channels['files'].messages['event.envelope'].payload.properties, 'without a history there are no ids')
  t.ok('key' in channels['prices'].messages['event.envelope'].payload.properties)
})

t.test('streams and channels are operations, one for each topic and format', async (t) => {
  const { operations, channels } = await documentOf(t)
  const sent = Object.values(operations as Node).filter(({ action }) => action === 'send')
  const places = sent.map(({ title, channel, 'x-fastify-realtime': { format } }) => `${title} ${channel.$ref.split('/').at(-1)} ${format}`)
  t.same(places, [
    'GET /auctions/:id/events auctions_id stream', 'GET /auctions/:id/events prices stream',
    ...['auctions_id', 'prices', 'files'].flatMap((topic) => ['flat', 'envelope'].map((format) => `GET /auctions/:id ${topic} ${format}`))
  ])
  t.match(sent[0].bindings.http, { method: 'GET', query: { type: 'object', properties: { since: {} } } })
  for (const { messages, channel } of Object.values(operations as Node)) {
    const { messages: known } = channels[channel.$ref.split('/').at(-1)]
    for (const { $ref } of messages) t.ok($ref.split('/').at(-1) in known, $ref)
  }
})

t.test('what clients say is received on a channel whose address is the URL', async (t) => {
  const { operations, channels } = await documentOf(t)
  const received = Object.values(operations as Node).filter(({ action }) => action === 'receive')
  t.same(received.map(({ summary }) => summary), ['It is answered by "reply", or by "error".', 'It is relayed to the others.'])
  t.match(channels['messages_auctions_id'], { address: '/auctions/{id}', parameters: { id: {} }, bindings: { ws: { method: 'GET' } } })
  const { oneOf: [flat, envelope] } = channels['messages_auctions_id'].messages.bid.payload
  t.match([flat.allOf[0].properties.type, envelope.properties.event], [{ const: 'bid' }, { const: 'bid' }])
})

t.test('schemas of app.addSchema() are components, and references lead there', async (t) => {
  const { components, channels } = await documentOf(t)
  t.match(components.schemas.price, { type: 'object', required: ['cents'] })
  t.notOk('$id' in components.schemas.price)
  t.equal(channels['auctions_id'].messages.sold.payload.properties.price.$ref, '#/components/schemas/price')
})

/** Every reference in it, and what it leads to. */
function references (document: Node): Array<{ $ref: string, found: unknown }> {
  const found: Array<{ $ref: string, found: unknown }> = []
  const look = (value: unknown): void => {
    if (typeof value !== 'object' || value === null) return
    const { $ref } = value as Node
    if (typeof $ref === 'string') {
      const parts = $ref.replace(/^#\//, '').split('/').map((part) => part.replace(/~1/g, '/').replace(/~0/g, '~'))
      found.push({ $ref, found: parts.reduce((at: Node | undefined, part) => at?.[part], document) })
    }
    Object.values(value).forEach(look)
  }
  look(document)
  return found
}

t.test('a schema that leads into itself, in any of the ways, leads to a component', (t) => {
  const shared: Node = {}
  const add = (schema: Node): void => { shared[schema.$id] = schema }
  add({ $id: 'tree', type: 'object', properties: { leaf: { $ref: '#/definitions/leaf' }, kids: { type: 'array', items: { $ref: '#' } } }, definitions: { leaf: { type: 'string', title: 'leaf' } } })
  add({ $id: 'http://shop.example/schemas/order.json', type: 'object', properties: { lines: { type: 'array', items: { $ref: 'line.json#' } } } })
  add({ $id: 'http://shop.example/schemas/line.json', type: 'object', title: 'line', properties: { order: { $ref: 'order.json' } } })
  const text = { type: 'string' }
  const events = {
    whole: { type: 'object', properties: { next: { $ref: '#' } } },
    defined: { type: 'object', properties: { a: { $ref: '#/definitions/a~1b' } }, definitions: { 'a/b': { type: 'object', title: 'ab', properties: { again: { $ref: '#/definitions/a~1b' } } } } },
    defs: { type: 'object', properties: { a: { $ref: '#/$defs/a%20b' } }, $defs: { 'a b': { ...text, title: 'a b' } } },
    inside: { type: 'object', properties: { a: text, b: { $ref: '#/properties/a' } } },
    anchored: { type: 'object', properties: { a: { $ref: '#here' } }, $defs: { x: { ...text, $anchor: 'here', title: 'here' } } },
    nested: { type: 'object', properties: { inner: { $id: 'inner', type: 'object', title: 'inner', properties: { self: { $ref: '#' }, up: { $ref: 'inner#/properties/text' }, text: { ...text, title: 'text' } } } } },
    typebox: Type.Object({ node: Type.Cyclic({ Node: Type.Object({ value: Type.Number(), next: Type.Optional(Type.Ref('Node')) }) }, 'Node') }),
    shared: { type: 'object', properties: { tree: { $ref: 'tree#' }, leaf: { $ref: 'tree#/definitions/leaf' }, order: { $ref: 'http://shop.example/schemas/order.json#' } } },
    data: { type: 'object', properties: { $ref: text, $id: text, default: { $ref: '#/properties/$ref' } }, default: { $ref: 'data', $id: 'data' }, enum: [{ $ref: '#/nowhere' }] }
  }
  const topic = { pattern: 't/:id', params: ['id'], events, history: true, keyed: false, presence: false as const, shared }
  const document: Node = makeDocument({ info: { title: 't', version: '1' }, servers: undefined, description: { topics: [topic], routes: [] }, schemas: new JsonSchemas(undefined), shared })
  const { channels: { t_id: { messages } }, components: { schemas } } = document
  const data = references(messages.data.payload)
  t.same(messages.data.payload.default, { $ref: 'data', $id: 'data' }, 'data is left as it is')
  t.same(messages.data.payload.enum, [{ $ref: '#/nowhere' }])
  t.same(Object.keys(messages.data.payload.properties), ['$ref', '$id', 'default'])
  for (const { $ref, found } of references(document)) if (!data.some((one) => one.$ref === $ref)) t.ok(found, `${$ref} leads somewhere`)
  const to = (name: string, ...path: string[]): Node => {
    const node = path.reduce((at: Node, key) => at[key], messages[name].payload.properties)
    return schemas[node.$ref.slice('#/components/schemas/'.length)]
  }
  t.match(to('whole', 'next'), { type: 'object', properties: { next: { $ref: '#/components/schemas/t_id_whole' } } })
  t.match(to('defined', 'a'), { title: 'ab', properties: { again: { $ref: '#/components/schemas/t_id_defined_a_b' } } })
  t.match([to('defs', 'a'), to('inside', 'b'), to('anchored', 'a')], [{ title: 'a b' }, { type: 'string' }, { title: 'here' }])
  t.match([to('nested', 'inner', 'properties', 'self'), to('nested', 'inner', 'properties', 'up')], [{ title: 'inner' }, { title: 'text' }])
  t.match(to('typebox', 'node'), { properties: { value: { type: 'number' }, next: { $ref: '#/components/schemas/t_id_typebox_Node' } } })
  t.match([to('shared', 'tree'), to('shared', 'leaf')], [{ properties: { kids: { items: { $ref: '#/components/schemas/tree' } } } }, { title: 'leaf' }])
  t.match(schemas.tree.properties.leaf, { $ref: '#/components/schemas/tree_leaf' })
  const [lineRef] = Object.entries(schemas as Node).flatMap(([key, one]) => one.title === 'line' ? [`#/components/schemas/${key}`] : [])
  t.equal(to('shared', 'order').properties.lines.items.$ref, lineRef, 'seen from where it stands')
  for (const format of ['flat', 'envelope']) t.ok(messages[`whole.${format}`], 'one component for all formats')
  t.equal(Object.keys(schemas).filter((key) => key.startsWith('t_id_whole')).length, 1)
  for (const schema of Object.values(schemas as Node)) t.notMatch(Object.keys(schema), ['definitions'], 'what was defined inside is outside')
  t.end()
})

t.test('of an app too: definitions, and recursive types of TypeBox', async (t) => {
  const app = await live(t)
  app.topic('t', {
    events: {
      defined: { type: 'object', properties: { a: { $ref: '#/definitions/text' } }, definitions: { text: { type: 'string' } } },
      node: Type.Object({ node: Type.Cyclic({ Node: Type.Object({ value: Type.Number(), next: Type.Optional(Type.Ref('Node')) }) }, 'Node') })
    }
  })
  await app.ready()
  const { channels: { t: { messages } }, components: { schemas } } = asyncapi(app) as Node
  t.same(messages.defined.payload, { type: 'object', properties: { a: { $ref: '#/components/schemas/t_defined_text' } } })
  t.match(messages.node.payload.properties.node, { $ref: '#/components/schemas/t_node_Node' })
  t.match(schemas, { t_defined_text: { type: 'string' }, t_node_Node: { properties: { next: { $ref: '#/components/schemas/t_node_Node' } } } })
})

t.test('recursive schemas of zod lead to components too', async (t) => {
  const app = await live(t)
  app.setValidatorCompiler(({ schema }) => (data) => (schema as z.ZodType).safeParse(data) as never)
  const tree: z.ZodType = z.object({ value: z.number(), get kids () { return z.array(tree) } })
  app.topic('trees', { events: { one: tree, two: z.object({ left: tree, right: tree }) } })
  await app.ready()
  const document = asyncapi(app, { jsonSchema: (schema) => z.toJSONSchema(schema as z.ZodType) }) as Node
  const all = references(document)
  t.ok(all.filter(({ $ref }) => $ref.startsWith('#/components/schemas/')).length >= 4)
  for (const { $ref, found } of all) t.ok(found, $ref)
})

t.test('schemas that a plugin adds in a scope of its own are components, and those of two scopes with one $id are told apart', async (t) => {
  const app = await live(t)
  app.addSchema({ $id: 'common', type: 'object', title: 'of all' })
  for (const [name, type] of [['a', 'string'], ['b', 'number'], ['c', 'string']] as const) {
    await app.register(async (scope) => {
      scope.addSchema({ $id: 'price', type: 'object', properties: { price: { type }, common: { $ref: 'common#' }, deep: { $ref: 'deep#' } } })
      scope.addSchema({ $id: 'deep', title: `deep in ${name === 'c' ? 'a' : name}` })
      const topic = scope.topic(name, { authorize: () => true, events: { said: { type: 'object', properties: { price: { $ref: 'price#' } } } } })
      scope.channel(`/${name}`, { topics: topic, messages: { say: { schema: { $ref: 'price#' }, handler: () => 1 } } })
    })
  }
  await app.ready()
  const document = asyncapi(app) as Node
  const { channels, components: { schemas } } = document
  const priceOf = (name: string): Node => {
    const { $ref } = channels[name].messages.said.payload.properties.price
    t.equal(channels[`messages_${name}`].messages.say.payload.oneOf[0].allOf[1].$ref, $ref, 'messages too')
    return schemas[$ref.split('/').at(-1)]
  }
  t.same(['a', 'b', 'c'].map((name) => priceOf(name).properties.price.type), ['string', 'number', 'string'])
  t.equal(priceOf('a'), priceOf('c'), 'what is the same is one component')
  t.equal(schemas[priceOf('b').properties.deep.$ref.split('/').at(-1)].title, 'deep in b')
  t.same(Object.keys(schemas).sort(), ['common', 'deep', 'deep_2', 'price', 'price_2'])
  for (const { $ref, found } of references(document)) t.ok(found, $ref)
})

t.test('shared schemas whose ids are one as keys are told apart', async (t) => {
  const app = await live(t)
  app.addSchema({ $id: 'a+b', type: 'string' })
  app.addSchema({ $id: 'a_b', type: 'number' })
  app.topic('t', { events: { said: { type: 'object', properties: { one: { $ref: 'a+b#' }, two: { $ref: 'a_b#' } } } } })
  await app.ready()
  const { channels, components: { schemas } } = asyncapi(app) as Node
  const { one, two } = channels['t'].messages.said.payload.properties
  t.same([one, two].map(({ $ref }) => schemas[$ref.split('/').at(-1)].type), ['string', 'number'])
})

t.test('events and messages that have one key are told apart, and a topic that is named twice is heard once', async (t) => {
  const app = await live(t)
  const events = { 'a b': { type: 'object', title: 'one' }, a_b: { type: 'object', title: 'two' }, 'a_b.flat': { type: 'object', title: 'three' } }
  const topic = app.topic('t', { authorize: () => true, events })
  app.channel('/c', { topics: topic, subscribe: topic, messages: { 'x y': { handler: () => 1 }, x_y: { handler: () => 1 } } })
  await app.ready()
  const { channels, operations } = asyncapi(app) as Node
  t.equal(Object.keys(channels['t'].messages).length, 9)
  t.same(Object.values(channels['messages_c'].messages as Node).map(({ name }) => name), ['x y', 'x_y'])
  t.equal(Object.keys(operations).length, 4)
})

t.test('patterns that have one key are told apart', async (t) => {
  const app = await live(t)
  for (const pattern of ['a/b', 'a-/b', 'a/:b', 'a_b']) app.topic(pattern, { authorize: () => true })
  await app.ready()
  const { channels } = asyncapi(app) as Node
  t.same(Object.values(channels as Node).map(({ title }) => title), ['a/b', 'a-/b', 'a/:b', 'a_b'])
})

t.test('schemas of zod need what makes JSON schema of them, and say so', async (t) => {
  const app = await live(t)
  app.setValidatorCompiler(({ schema }) => (data) => (schema as z.ZodType).safeParse(data) as never)
  app.topic('news', { events: { said: z.object({ text: z.string() }) } })
  await app.ready()
  t.throws(() => asyncapi(app), { code: 'FST_ERR_REALTIME_OPTION_INVALID', message: /"said" of topic "news".*z\.toJSONSchema/ })
  t.throws(() => asyncapi(app, { jsonSchema: () => 'no' }), { code: 'FST_ERR_REALTIME_OPTION_INVALID' })
  const { channels } = asyncapi(app, { jsonSchema: (schema) => z.toJSONSchema(schema as z.ZodType) }) as Node
  t.match(channels['news'].messages.said.payload, { type: 'object', properties: { text: { type: 'string' } } })
  t.notOk('$schema' in channels['news'].messages.said.payload)
})

t.test('a route serves it, behind the hooks that it is given', async (t) => {
  const app = await live(t)
  await app.register(asyncapiRoute, { url: '/docs/asyncapi.json', route: { onRequest: async (request, reply) => { if (!request.headers.authorization) await reply.code(401).send() } } })
  declare(app)
  const asked = async (headers: Record<string, string>) => await app.inject({ url: '/docs/asyncapi.json', headers })
  t.equal((await asked({})).statusCode, 401)
  const answer = await asked({ authorization: 'Bearer x' })
  t.match(answer.headers['content-type'], 'application/json')
  t.same(answer.json(), asyncapi(app))
})

const WRONG: Record<string, object> = {
  'an unknown option': { title: 'x' },
  'info without a version': { info: { title: 'x' } },
  'info that is none': { info: 'x' },
  'servers that are none': { servers: 'x' },
  'a converter that is none': { jsonSchema: {} },
  'a url that is none': { url: 'x' },
  'a route that is none': { route: true }
}

t.test('wrong options are errors at register', async (t) => {
  for (const [what, options] of Object.entries(WRONG)) {
    const app = await live(t)
    await t.rejects(async () => { await app.register(asyncapiRoute, options as AsyncApiRouteOptions) }, { code: 'FST_ERR_REALTIME_OPTION_INVALID' }, what)
  }
  await t.rejects(async () => { await bare(t).register(asyncapiRoute) }, /fastify-realtime/)
})

t.test('describe() gives plain values, and what is done to them changes nothing', async (t) => {
  const app = await live(t)
  declare(app)
  await app.ready()
  const first = app.realtime.describe()
  t.match(first.routes[1], { kind: 'channel', urls: ['/auctions/:id'], methods: ['GET'], topics: ['auctions/:id'], subscribe: ['prices', 'files/*'], http: true, binary: false, source: false, dynamic: false })
  t.match(first.routes[3], { kind: 'stream', dynamic: true, topics: [] })
  t.same(first.routes[1]?.messages['cursor'], { schema: undefined, relayed: true })
  const again = structuredClone(first.routes)
  first.topics.length = 0
  first.routes[0]?.topics.push('x')
  t.equal(app.realtime.describe().topics.length, 3)
  t.same(app.realtime.describe().routes.map(({ topics }) => topics), again.map(({ topics }) => topics))
})
