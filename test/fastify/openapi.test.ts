/** Streams in an OpenAPI document by @fastify/swagger: what it says of their events, in each version, and that the versions hold it. */
import { createRequire } from 'node:module'
import swagger from '@fastify/swagger'
import type { FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import { itemSchemas } from '../../lib/index.ts'
import { connectStream } from '../../lib/testing/index.ts'
import { live, bare } from '../helpers/app.ts'
import realtime from '../../lib/index.ts'

type Node = Record<string, any> // eslint-disable-line @typescript-eslint/no-explicit-any -- a document is read as it comes

const Ajv2020 = createRequire(import.meta.url)('ajv/dist/2020').default as typeof import('ajv').default

const bid = { type: 'object', properties: { amount: { type: 'number' } }, required: ['amount'] } as const

function declare (app: FastifyInstance): void {
  app.addSchema({ $id: 'money', type: 'integer' })
  const auction = app.topic('auctions/:id', { presence: { event: 'members' }, authorize: () => true, events: { bid, message: { type: 'string' }, end: { type: 'object', properties: { total: { $ref: 'money#' } } } } })
  const other = app.topic('other', { events: { bid: { type: 'string' } } })
  const prices = app.topic('prices', { keyed: { event: 'state' }, events: { price: { type: 'number' } } })
  const untyped = app.topic('untyped')
  app.stream('/auctions/:id', { topics: auction, presence: 'watch' })
  app.stream('/quiet/:id', { topics: auction })
  app.stream('/several', { topics: [other, prices, auction.at({ id: '1' })] })
  app.stream('/mixed', { topics: [prices, untyped] })
  app.stream('/untyped', { topics: untyped })
  app.stream('/own', { topics: other, schema: { response: { 200: { description: 'mine', content: { 'text/event-stream': { schema: { type: 'string' } } } } } } })
  app.get('/plain', { schema: { response: { 200: { type: 'object', properties: { at: { type: 'string' } } } } } }, () => ({ at: 'now' }))
}

async function documentOf (t: Test, version: string, options: object = { transformObject: itemSchemas }): Promise<Node> {
  const app = bare(t)
  await app.register(swagger, { openapi: { openapi: version, info: { title: 'shop', version: '1' } }, ...options })
  await app.register(realtime, { closeTimeout: 1000 })
  declare(app)
  await app.ready()
  return app.swagger()
}

const mediaOf = (document: Node, path: string): Node => document.paths[path].get.responses[200].content['text/event-stream']

/** Which of the alternatives an event fits, by Ajv: it must be one. */
function fits (document: Node, schema: Node, event: Node): number[] {
  const ajv = new Ajv2020({ strict: false })
  return schema.oneOf.flatMap((one: Node, i: number) => ajv.compile({ ...one, components: document.components })(event) ? i : [])
}

const VERSIONS = ['3.0.3', '3.1.0', '3.2.0']

t.test('each event is one alternative, told apart by its name; what is no declared event is none', async (t) => {
  for (const version of VERSIONS) {
    const document = await documentOf(t, version, {})
    const { schema } = mediaOf(document, '/auctions/{id}')
    t.same(schema.oneOf.map(({ properties }: Node) => properties.event.enum?.[0] ?? properties.event.pattern), ['bid', 'message', 'end', 'members', '^realtime:'])
    const cases: Array<[Node, number[]]> = [
      [{ id: '1', event: 'bid', data: { amount: 1 } }, [0]],
      [{ event: 'bid', data: { amount: 'x' } }, []],
      [{ event: 'bid' }, []],
      [{ data: 'hello' }, [1]],
      [{ event: 'message', data: 'hello' }, [1]],
      [{ event: 'end', data: { total: 7 } }, [2]],
      [{ event: 'end', data: { total: 'x' } }, []],
      [{ event: 'members', data: { type: 'join', members: [] } }, [3]],
      [{ id: '1', event: 'realtime:reset', data: { topic: 't', reason: 'lost' } }, [4]],
      [{ event: 'realtime:open', data: {}, retry: 1000 }, [4]],
      [{ event: 'other', data: {} }, []]
    ]
    for (const [event, found] of cases) t.same(fits(document, schema, event), found, `${version}: ${JSON.stringify(event)}`)
    t.notOk(mediaOf(document, '/quiet/{id}').schema.oneOf.some(({ properties }: Node) => properties.event.enum?.[0] === 'members'), 'a route that tells of no presence')
  }
})

t.test('events of one name from several topics, states, and topics without schemas', async (t) => {
  const document = await documentOf(t, '3.1.0')
  const { schema: several } = mediaOf(document, '/several')
  t.same(several.oneOf.map(({ properties }: Node) => properties.event.enum?.[0]), ['bid', 'price', 'message', 'end', 'state', undefined])
  for (const data of ['text', { amount: 1 }]) t.same(fits(document, several, { event: 'bid', data }), [0])
  t.same(fits(document, several, { event: 'bid', data: 7 }), [])
  const { schema: mixed } = mediaOf(document, '/mixed')
  const cases: Array<[Node, number[]]> = [[{ event: 'price', data: 1 }, [0]], [{ event: 'price', data: 'x' }, []], [{ event: 'state', data: {} }, [1]], [{ event: 'whatever', data: 1 }, [2]], [{ event: 'realtime:snapshot', data: {} }, [3]]]
  for (const [event, found] of cases) t.same(fits(document, mixed, event), found, JSON.stringify(event))
  t.same(mediaOf(document, '/untyped').schema, { type: 'string' })
})

t.test('in OpenAPI 3.2 a stream has an itemSchema: data is a text whose content has the event\'s schema', async (t) => {
  const document = await documentOf(t, '3.2.0')
  const { schema, itemSchema } = mediaOf(document, '/auctions/{id}')
  t.same(itemSchema.oneOf[0], {
    type: 'object',
    properties: {
      id: { type: 'string', description: 'Send the last one as Last-Event-ID to go on behind it' },
      event: { type: 'string', const: 'bid' },
      data: { type: 'string', contentMediaType: 'application/json', contentSchema: bid }
    },
    required: ['event', 'data']
  })
  t.match(itemSchema.oneOf[2].properties.data.contentSchema.properties.total.$ref, /^#\/components\/schemas\//)
  t.same(schema, { type: 'array', items: itemSchema }, 'the whole of the stream')
  t.match(itemSchema.oneOf.at(-1).properties, { event: { pattern: '^realtime:' }, retry: { type: 'integer', minimum: 0 } })
  t.same(fits(document, itemSchema, { id: '1', event: 'bid', data: '{"amount":1}' }), [0])
  t.same(fits(document, itemSchema, { event: 'bid', data: { amount: 1 } }), [], 'data is a text')
  t.same(mediaOf(document, '/untyped'), { schema: { type: 'string' } })
  t.same(mediaOf(document, '/own'), { schema: { type: 'string' } }, 'what the app has written itself')
  t.match(document.paths['/plain'].get.responses[200], { content: { 'application/json': { schema: { type: 'object' } } } })
})

/** Of the specification: what a Media Type Object may have besides extensions. */
const MEDIA: Record<string, string[]> = {
  '3.0.3': ['schema', 'example', 'examples', 'encoding'],
  '3.1.0': ['schema', 'example', 'examples', 'encoding'],
  '3.2.0': ['schema', 'itemSchema', 'example', 'examples', 'encoding', 'prefixEncoding', 'itemEncoding']
}
/** Keywords that a Schema Object of 3.0 does not have. */
const NOT_OF_30 = ['const', 'contentMediaType', 'contentSchema', 'contentEncoding', 'examples', '$defs', 'itemSchema', 'patternProperties']

function keysIn (node: unknown): string[] {
  if (Array.isArray(node)) return node.flatMap(keysIn)
  if (typeof node !== 'object' || node === null) return []
  return Object.entries(node).flatMap(([key, one]) => [key, ...keysIn(one)])
}

t.test('no version gets a keyword that it does not have', async (t) => {
  for (const version of VERSIONS) {
    for (const options of [{}, { transformObject: itemSchemas }, { transformObject: itemSchemas, convertConstToEnum: false }]) {
      const document = await documentOf(t, version, options)
      for (const path of ['/auctions/{id}', '/several', '/mixed', '/untyped', '/own']) {
        const media = mediaOf(document, path)
        t.same(Object.keys(media).filter((key) => !key.startsWith('x-') && !MEDIA[version]?.includes(key)), [], `${version} ${path}`)
        if (version.startsWith('3.0')) t.same(keysIn(media.schema).filter((key) => NOT_OF_30.includes(key)), [], path)
      }
      t.equal('itemSchema' in mediaOf(document, '/auctions/{id}'), version === '3.2.0' && 'transformObject' in options, version)
    }
  }
})

t.test('what is no OpenAPI document, or has odd places, is given back as it is', (t) => {
  const swaggerObject = { swagger: '2.0', paths: {} }
  t.equal(itemSchemas({ swaggerObject }), swaggerObject)
  for (const openapi of ['3.1.1', '3.0.3', '2.0', undefined, null, 'x']) {
    const openapiObject = { openapi, paths: {} }
    t.equal(itemSchemas({ openapiObject }), openapiObject, String(openapi))
  }
  const odd = { openapi: '3.2.1', paths: { '/a': null, '/b': { $ref: '#/x', parameters: [], get: { responses: null }, post: 'x', put: { responses: { 200: { $ref: '#/y' }, 201: { content: { 'text/event-stream': { 'x-fastify-realtime': true, schema: { $ref: '#/z' } } } } } } } } }
  t.same(itemSchemas({ openapiObject: odd }), odd)
  t.same(itemSchemas({ openapiObject: { openapi: '3.2.0' } }), { openapi: '3.2.0', paths: undefined })
  t.end()
})

t.test('a transform of the app\'s own works beside it, and a documented stream works', async (t) => {
  const app = await live(t)
  await app.register(swagger, {
    openapi: { openapi: '3.2.0', info: { title: 'shop', version: '1' } },
    transform: ({ schema, url }) => ({ schema: { ...schema, tags: ['mine'] }, url }),
    transformObject: (documents) => ({ ...itemSchemas(documents), externalDocs: { url: 'http://localhost/docs' } })
  })
  declare(app)
  await app.ready()
  const document = app.swagger() as Node
  t.match(document, { externalDocs: { url: 'http://localhost/docs' }, paths: { '/auctions/{id}': { get: { tags: ['mine'] } } } })
  t.ok(mediaOf(document, '/auctions/{id}').itemSchema)
  t.match(app.swagger({ yaml: true }), /itemSchema:/)
  const stream = await connectStream(app, '/auctions/1', { t })
  await app.realtime.publish('auctions/1', 'bid', { amount: 1 })
  t.same((await stream.next('bid')).data, { amount: 1 })
})
