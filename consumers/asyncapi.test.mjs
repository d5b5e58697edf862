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

test('zod, and an app that has declared nothing', async () => {
  await parsed((app) => {
    app.setValidatorCompiler(({ schema }) => (data) => schema.safeParse(data))
    app.topic('news', { events: { said: z.object({ text: z.string(), at: z.number().optional() }) } })
  }, { jsonSchema: z.toJSONSchema })
  await parsed(() => {})
})
