// The documents that apps get are what AsyncAPI's own parser calls valid: JSON schema, TypeBox's kind, zod's, and none.
import assert from 'node:assert/strict'
import test from 'node:test'
import asyncapiParser from '@asyncapi/parser'
import Fastify from 'fastify'
import realtime from 'fastify-realtime'
import { asyncapi } from 'fastify-realtime/asyncapi'
import { z } from 'zod'

const ERROR = 0
const parser = new asyncapiParser.Parser()

async function parsed (declare, options) {
  const app = Fastify()
  await app.register(realtime)
  declare(app)
  await app.ready()
  try {
    const { document, diagnostics } = await parser.parse(JSON.stringify(asyncapi(app, options)))
    assert.deepEqual(diagnostics.filter(({ severity }) => severity === ERROR), [])
    return document
  } finally {
    await app.close()
  }
}

test('topics, streams and channels with every option', async () => {
  const document = await parsed((app) => {
    app.addSchema({ $id: 'price', type: 'object', properties: { cents: { type: 'integer' } }, required: ['cents'] })
    const price = { type: 'object', properties: { price: { $ref: 'price#' } } }
    const auction = app.topic('auctions/:id', { authorize: () => true, events: { bid: price, cursor: { type: 'object' } }, presence: true })
    const prices = app.topic('prices', { authorize: () => true, keyed: true })
    const files = app.topic('files/*', { authorize: () => true, history: false })
    const schema = {
      params: { type: 'object', properties: { id: { type: 'string' } } },
      querystring: { type: 'object', properties: { since: { type: 'string' } } },
      headers: { type: 'object', properties: { 'x-shop': { type: 'string' } } }
    }
    app.stream('/auctions/:id/events', { topics: [auction, 'prices'], schema })
    app.stream('/answers', { method: ['GET', 'POST'], source: async function * () {} })
    app.channel('/auctions/:id', {
      http: true,
      topics: auction,
      subscribe: [prices, files],
      schema,
      messages: { bid: { schema: price, handler: () => 'ok' }, cursor: { relay: { topic: auction } } }
    })
    app.channel('/bytes', { binary: () => {} })
  }, { info: { title: 'Auctions', version: '1.0.0' }, servers: { shop: { host: 'localhost:3000', protocol: 'http' } } })
  const [bid] = document.channels().get('auctions_id').messages().filter((message) => message.name() === 'bid')
  assert.deepEqual(bid.payload().json().properties.price.required, ['cents'])
})

test('schemas that lead into themselves, into each other, and into those of inner scopes', async () => {
  const node = { $id: 'Node', type: 'object', properties: { value: { type: 'number' }, next: { $ref: 'Node' } } }
  const document = await parsed((app) => {
    app.addSchema({ $id: 'tree', type: 'object', properties: { name: { $ref: '#/definitions/name' }, kids: { type: 'array', items: { $ref: 'tree#' } } }, definitions: { name: { type: 'string' } } })
    app.register(async (scope) => {
      scope.addSchema({ $id: 'inner', type: 'object', properties: { tree: { $ref: 'tree#' } } })
      const events = {
        grown: { type: 'object', properties: { inner: { $ref: 'inner#' }, name: { $ref: 'tree#/definitions/name' } } },
        linked: { type: 'object', properties: { node: { $defs: { Node: node }, $ref: 'Node' } } },
        defined: { type: 'object', properties: { text: { $ref: '#/definitions/text' } }, definitions: { text: { type: 'string' } } }
      }
      const topic = scope.topic('trees/:id', { authorize: () => true, events })
      scope.stream('/trees/:id/events', { topics: topic })
      scope.channel('/trees/:id', { topics: topic, messages: { grow: { schema: { type: 'object', properties: { inner: { $ref: 'inner#' } } }, handler: () => 1 } } })
    })
  })
  const [grown] = document.channels().get('trees_id').messages().filter((message) => message.name() === 'grown')
  assert.equal(grown.payload().json().properties.inner.properties.tree.properties.name.type, 'string')
})

test('zod, and an app that has declared nothing', async () => {
  await parsed((app) => {
    app.setValidatorCompiler(({ schema }) => (data) => schema.safeParse(data))
    app.topic('news', { events: { said: z.object({ text: z.string(), at: z.number().optional() }) } })
  }, { jsonSchema: z.toJSONSchema })
  const tree = z.object({ value: z.number(), get kids () { return z.array(tree) } })
  await parsed((app) => {
    app.setValidatorCompiler(({ schema }) => (data) => schema.safeParse(data))
    app.topic('trees', { events: { one: tree, two: z.object({ left: tree, right: tree }) } })
  }, { jsonSchema: z.toJSONSchema })
  await parsed(() => {})
})
