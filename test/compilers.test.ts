// A schema goes to the compiler that the app has set, and what that says counts: for messages, for published events, for
// streams and channels beside each other, and in the OpenAPI document.

import swagger from '@fastify/swagger'
import { TypeBoxValidatorCompiler } from '@fastify/type-provider-typebox'
import { Ajv } from 'ajv'
import type { FastifyInstance, FastifySchemaCompiler } from 'fastify'
import { jsonSchemaTransform, serializerCompiler, validatorCompiler } from 'fastify-type-provider-zod'
import Joi from 'joi'
import t, { type Test } from 'tap'
import { Type } from 'typebox'
import { z } from 'zod'
import realtime from '../lib/index.ts'
import { connectStream, connectChannel } from '../lib/testing/index.ts'
import { bare, live } from './helpers/app.ts'

type Compiler = FastifySchemaCompiler<unknown>

/** What a handler was given, or the code and text of the refusal. */
async function said (app: FastifyInstance, t: Test, data: unknown, url = '/talk'): Promise<unknown> {
  const client = await connectChannel(app, url, { format: 'envelope', t })
  try {
    return await client.request('bid', data)
  } catch (error) {
    const { code, message } = error as { code?: unknown, message: string }
    return { code, message }
  }
}

const handler = (data: unknown): unknown => data === undefined ? 'undefined' : data
const joi: Compiler = ({ schema }) => (data: unknown) => (schema as Joi.Schema).validate(data) as never

interface Library {
  name: string
  compiler?: Compiler
  serializer?: Compiler
  schema: unknown
  /** Message in, what the handler gets. */
  fitting: Array<[unknown, unknown]>
  refused: Array<[unknown, RegExp]>
}

const bidSchema = {
  type: 'object',
  required: ['amount'],
  properties: { amount: { type: 'number', exclusiveMinimum: 0 }, currency: { type: 'string', default: 'EUR' } },
  additionalProperties: false
}
const typebox = Type.Object({ amount: Type.Number({ exclusiveMinimum: 0 }), currency: Type.Optional(Type.String({ default: 'EUR' })) }, { additionalProperties: false })
const stripped = { amount: 5, currency: 'EUR' }
const coercing = new Ajv({ coerceTypes: true, useDefaults: true, removeAdditional: true, strict: false })

const libraries: Library[] = [
  {
    name: 'JSON schema, no compiler set',
    schema: bidSchema,
    fitting: [[{ amount: 5, other: 1 }, stripped], [{ amount: 5, currency: 'USD' }, { amount: 5, currency: 'USD' }]],
    refused: [[{ amount: '5' }, /^data\/amount must be number$/], [{}, /amount/], [null, /object/], [undefined, /object/], [{ amount: 0 }, /^data\/amount must be > 0$/]]
  },
  {
    name: 'JSON schema, an Ajv of the app\'s own that coerces',
    compiler: ({ schema }) => coercing.compile(schema as object) as never,
    schema: bidSchema,
    fitting: [[{ amount: '5', other: 1 }, stripped]],
    refused: [[{ amount: 'x' }, /^data\/amount must be number$/], [{}, /amount/]]
  },
  {
    name: 'TypeBox, no compiler set',
    schema: typebox,
    fitting: [[{ amount: 5, other: 1 }, stripped]],
    refused: [[{ amount: '5' }, /^data\/amount must be number$/]]
  },
  {
    name: 'TypeBox',
    compiler: TypeBoxValidatorCompiler as Compiler,
    schema: typebox,
    fitting: [[{ amount: 5 }, { amount: 5 }]],
    refused: [[{ amount: '5' }, /^data\/amount must be number$/], [{ amount: 5, other: 1 }, /additional/]]
  },
  {
    name: 'zod',
    compiler: validatorCompiler as Compiler,
    serializer: serializerCompiler as Compiler,
    schema: z.object({ amount: z.coerce.number().positive(), currency: z.string().default('EUR') }),
    fitting: [[{ amount: 5, other: 1 }, stripped], [{ amount: '5' }, stripped]],
    refused: [[{ amount: 'x' }, /^data\/amount Invalid input/], [{ amount: 0 }, /^data\/amount Too small/], [{}, /^data\/amount /], [null, /^data /], [[], /^data /]]
  },
  {
    name: 'Joi',
    compiler: joi,
    schema: Joi.object({ amount: Joi.number().positive().required(), currency: Joi.string().default('EUR') }).options({ stripUnknown: true }),
    fitting: [[{ amount: 5, other: 1 }, stripped], [{ amount: '5' }, stripped]],
    refused: [[{ amount: 'x' }, /^"amount" must be a number$/], [{}, /^"amount" is required$/], [{ amount: 0 }, /^"amount" must be a positive number$/]]
  },
  {
    name: 'JSON schema where the app\'s compilers are zod\'s',
    compiler: validatorCompiler as Compiler,
    serializer: serializerCompiler as Compiler,
    schema: bidSchema,
    fitting: [[{ amount: 5, other: 1 }, stripped]],
    refused: [[{ amount: '5' }, /^data\/amount must be number$/], [{}, /amount/]]
  },
  {
    name: 'JSON schema where the app\'s compiler is Joi\'s',
    compiler: joi,
    schema: bidSchema,
    fitting: [[{ amount: 5, other: 1 }, stripped]],
    refused: [[{ amount: '5' }, /^data\/amount must be number$/]]
  }
]

function setCompilers (app: FastifyInstance, { compiler, serializer }: Partial<Library>): void {
  if (compiler) app.setValidatorCompiler(compiler)
  if (serializer) app.setSerializerCompiler(serializer as never)
}

for (const library of libraries) {
  t.test(`messages: ${library.name}`, async (t) => {
    const app = await live(t)
    setCompilers(app, library)
    app.channel('/talk', { messages: { bid: { schema: library.schema, handler } } })
    await app.ready()
    for (const [data, value] of library.fitting) t.same(await said(app, t, data), value, JSON.stringify(data))
    for (const [data, message] of library.refused) t.match(await said(app, t, data), { code: 'INVALID_DATA', message }, JSON.stringify(data))
  })

  t.test(`published events, on a stream and a channel: ${library.name}`, async (t) => {
    for (const validate of [true, false]) {
      const app = await live(t, { validate })
      setCompilers(app, library)
      app.topic('auction', { events: { bid: library.schema } })
      app.stream('/stream', { topics: 'auction' })
      app.channel('/channel', { topics: 'auction' })
      await app.ready()
      const stream = await connectStream(app, '/stream', { t })
      const channel = await connectChannel(app, '/channel', { t, format: 'envelope' })
      await channel.next('realtime:subscribed')
      await app.realtime.publish('auction', 'bid', { amount: 5, currency: 'USD' })
      t.same((await stream.next('bid')).data, { amount: 5, currency: 'USD' })
      t.same((await channel.next('bid')).data, { amount: 5, currency: 'USD' })
      if (validate) await t.rejects(app.realtime.publish('auction', 'bid', { amount: 0, currency: 'USD' }), { code: 'FST_ERR_REALTIME_EVENT_DATA', message: /amount/ })
      await t.rejects(app.realtime.publish('auction', 'sold', {}), { code: 'FST_ERR_REALTIME_EVENT_UNKNOWN' })
    }
  })
}

t.test('the compiler of a child scope, and of a route alone, counts', async (t) => {
  const app = await live(t)
  const giving = (value: unknown): Compiler => () => () => ({ value })
  const schema = { type: 'object' }
  app.register(async (child) => {
    child.channel('/child', { messages: { bid: { schema, handler } } })
    child.channel('/route', { validatorCompiler: giving('of the route'), messages: { bid: { schema, handler } } })
    child.register(async (grandchild) => { grandchild.channel('/grandchild', { messages: { bid: { schema, handler } } }) })
    child.setValidatorCompiler(giving('of the child'))
  })
  app.channel('/root', { messages: { bid: { schema, handler } } })
  // Fastify builds a compiler of its own for these, which coerces.
  app.get('/other', { schema: { querystring: { type: 'object', properties: { n: { type: 'integer' } } } } }, () => 'ok')
  app.channel('/own', { schema: { querystring: { type: 'object', properties: { n: { type: 'integer' } } } }, messages: { bid: { schema: bidSchema, handler } } })
  await app.ready()
  t.equal(await said(app, t, {}, '/child'), 'of the child')
  t.equal(await said(app, t, {}, '/grandchild'), 'of the child')
  t.equal(await said(app, t, {}, '/route'), 'of the route')
  t.same(await said(app, t, {}, '/root'), {})
  t.match(await said(app, t, { amount: '5' }, '/own'), { code: 'INVALID_DATA' })
})

t.test('a validator may take its time, fail, or refuse by a promise; the handler is called only behind its yes', async (t) => {
  const app = await live(t)
  let handled = 0
  const verdicts: Record<string, () => unknown> = {
    '/yes': async () => true,
    '/no': Object.assign(async () => false, { errors: [{ message: 'is not wanted' }] }),
    '/rejects': async () => { throw new Error('not this') },
    '/throws': () => { throw new Error('a bug in it') },
    '/throws-nothing': () => { throw undefined } // eslint-disable-line no-throw-literal -- as some do
  }
  for (const [url, validate] of Object.entries(verdicts)) {
    app.channel(url, { validatorCompiler: () => validate as never, messages: { bid: { schema: { type: 'object' }, handler: () => ++handled } } })
  }
  await app.ready()
  t.equal(await said(app, t, {}, '/yes'), 1)
  t.match(await said(app, t, {}, '/no'), { code: 'INVALID_DATA', message: 'data is not wanted' })
  t.match(await said(app, t, {}, '/rejects'), { code: 'INVALID_DATA', message: 'not this' })
  t.match(await said(app, t, {}, '/throws'), { code: 'INTERNAL' })
  t.match(await said(app, t, {}, '/throws-nothing'), { code: 'INTERNAL' })
  t.equal(handled, 1)
})

t.test('a schema that is no JSON schema needs a compiler of the app\'s', async (t) => {
  for (const declare of [
    (app: FastifyInstance) => { app.topic('news', { events: { said: z.object({}) } }) },
    (app: FastifyInstance) => { app.channel('/talk', { messages: { bid: { schema: Joi.object(), handler } } }) }
  ]) {
    const app = await live(t)
    declare(app)
    await t.rejects(async () => await app.ready(), { code: 'FST_ERR_REALTIME_SCHEMA_INVALID', message: /setValidatorCompiler/ })
  }
})

t.test('zod: what is written is encoded by the schema, in development as in production', async (t) => {
  const when = z.codec(z.iso.datetime(), z.date(), { decode: (text) => new Date(text), encode: (date) => date.toISOString() })
  const date = new Date('2026-01-02T03:04:05.000Z')
  for (const validate of [true, false]) {
    const app = await live(t, { validate })
    setCompilers(app, { compiler: validatorCompiler as Compiler, serializer: serializerCompiler as Compiler })
    app.topic('dates', { events: { codec: z.object({ when }), date: z.object({ when: z.date() }), plain: { type: 'object', properties: { when: { type: 'string', format: 'date-time' } } } } })
    app.stream('/dates', { topics: 'dates' })
    await app.ready()
    const stream = await connectStream(app, '/dates', { t })
    for (const event of ['codec', 'date', 'plain']) {
      await app.realtime.publish('dates', event, { when: date })
      t.same((await stream.next(event)).data, { when: date.toISOString() }, event)
    }
    await t.rejects(app.realtime.publish('dates', 'date', { when: 'soon' }), { code: 'FST_ERR_REALTIME_EVENT_DATA', message: /data\/when/ })
  }
})

t.test('a stream starts under any serializer compiler, which still writes the route\'s other answers', async (t) => {
  const refused = { zod: z.object({ why: z.string() }), plain: { type: 'object', properties: { why: { type: 'string' } } } }
  for (const kind of ['zod', 'plain'] as const) {
    const app = bare(t)
    const zod = kind === 'zod'
    await app.register(swagger, { openapi: { info: { title: 'shop', version: '1' } }, ...(zod ? { transform: jsonSchemaTransform } : {}) })
    await app.register(realtime, { closeTimeout: 1000 })
    if (zod) setCompilers(app, { compiler: validatorCompiler as Compiler, serializer: serializerCompiler as Compiler })
    app.topic('auctions/:id', { events: zod ? { bid: z.object({ amount: z.number() }), end: z.object({ winner: z.string() }) } : { bid: bidSchema } })
    app.topic('plain', { events: { bid: bidSchema } })
    app.stream('/auctions/:id', {
      topics: 'auctions/:id',
      schema: { params: zod ? z.object({ id: z.string() }) : { type: 'object', properties: { id: { type: 'string' } } }, response: { 401: refused[kind] } },
      preHandler: async (request, reply) => { if (request.headers.authorization === undefined) return await reply.code(401).send({ why: 'who are you?', secret: 1 }) }
    })
    app.stream('/plain', { topics: 'plain' })
    app.channel('/talk', { topics: 'plain' })
    await app.ready()

    await connectStream(app, '/auctions/1', { t, headers: { authorization: 'me' } })
    const { statusCode, body } = await app.inject('/auctions/1')
    t.equal(statusCode, 401)
    t.same(JSON.parse(body), { why: 'who are you?' }, 'written by the app\'s own compiler')

    const { paths } = app.swagger() as unknown as { paths: Record<string, { get: { responses: Record<string, { content?: object }> } }> }
    t.same(Object.keys(paths).sort(), ['/auctions/{id}', '/plain'])
    const responses = paths['/auctions/{id}']?.get.responses
    t.match(responses, { 200: { description: 'A stream of server-sent events', content: { 'text/event-stream': { schema: zod ? { anyOf: [{ properties: { amount: {} } }, { properties: { winner: {} } }] } : { oneOf: [{}] } } } }, 401: {} })
  }
})
