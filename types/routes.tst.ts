/** Streams and channels: what their callbacks know of the request, and what their options take. */
import Fastify from 'fastify'
import type { FastifyInstance, FastifyReply, FastifyRequest, preHandlerHookHandler } from 'fastify'
import type { FastifyPluginAsyncTypebox, TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import type { JsonSchemaToTsProvider } from '@fastify/type-provider-json-schema-to-ts'
import type { CloseReason, Connection, MessageContext, SourceEvent } from 'fastify-realtime'
import { describe, expect, test } from 'tstyche'
import { Type } from 'typebox'

const app = Fastify()
const typebox = app.withTypeProvider<TypeBoxTypeProvider>()
const jsonSchema = app.withTypeProvider<JsonSchemaToTsProvider>()

const pets = app.topic('pets')
const auction = typebox.topic('auctions/:auctionId', { events: { bid: Type.Object({ amount: Type.Number() }) } })

describe('params from the URL', () => {
  test('in the callbacks of a stream', () => {
    app.stream('/auctions/:auctionId/events', {
      topics: (request) => {
        expect(request.params.auctionId).type.toBe<string>()
        return auction.at(request.params)
      },
      onConnect: (connection, request) => {
        expect(connection).type.toBe<Connection>()
        expect(request.params.auctionId).type.toBe<string>()
      },
      onDisconnect: (connection, reason) => {
        expect(connection).type.toBe<Connection>()
        expect(reason).type.toBe<CloseReason>()
      },
      handler: (request, reply) => {
        expect(request.params.auctionId).type.toBe<string>()
        expect(reply).type.toBe<FastifyReply>()
        return { id: request.params.auctionId }
      }
    })
  })

  test('in a source', () => {
    app.stream('/answers/:answerId', {
      async * source (request, { cursor, signal }) {
        expect(request.params.answerId).type.toBe<string>()
        expect(cursor).type.toBe<string | undefined>()
        expect(signal).type.toBe<AbortSignal>()
        yield { event: 'token', data: 'Hello', id: '1' }
        yield { data: { done: true }, retry: 1000, comment: 'bye' }
      }
    })
  })

  test('in the callbacks of a channel', () => {
    app.channel('/auctions/:auctionId/bidders/:bidderId', {
      topics: ({ params }) => {
        expect(params.auctionId).type.toBe<string>()
        return [auction.at(params)]
      },
      messages: {
        bid: {
          handler: (_data, { params }) => {
            expect(params.auctionId).type.toBe<string>()
            expect(params.bidderId).type.toBe<string>()
          }
        }
      },
      binary: (data, { params }) => {
        expect(data).type.toBe<Uint8Array>()
        expect(params.bidderId).type.toBe<string>()
      },
      onConnect: (_connection, request) => { expect(request.params.bidderId).type.toBe<string>() }
    })
  })

  test('those of a prefix can be read as well', () => {
    const plugin: FastifyPluginAsyncTypebox = async (scope) => {
      scope.channel('/live', {
        topics: ({ params }) => {
          expect(params['auctionId']).type.toBeAssignableTo<string | undefined>()
          return `auctions/${params['auctionId']}`
        },
        messages: { ping: { handler: (_data, { params }) => { expect(params['auctionId']).type.toBeAssignableTo<string | undefined>() } } }
      })
      scope.stream('/events', { topics: auction })
    }
    app.register(plugin, { prefix: '/auctions/:auctionId' })
  })

  test('in hooks, inline or written elsewhere', () => {
    const ownsIt = async (request: FastifyRequest<{ Params: { orderId: string } }>): Promise<void> => { request.params.orderId.at(0) }
    const signedIn = async (request: FastifyRequest, reply: FastifyReply): Promise<void> => { await reply.code(401).send(request.id) }
    app.stream('/orders/:orderId', {
      onRequest: [signedIn, ownsIt],
      preHandler: async (request) => { expect(request.params.orderId).type.toBe<string>() },
      topics: pets
    })
    app.channel('/orders/:orderId/live', {
      onRequest: [signedIn, ownsIt],
      preHandler: async (request) => { expect(request.params.orderId).type.toBe<string>() },
      topics: pets
    })
    expect(app.stream).type.not.toBeCallableWith('/orders/:id', { preHandler: ownsIt, topics: pets, schema: { params: Type.Object({}) } })
  })

  test('a wildcard', () => {
    app.stream('/files/*', { topics: ({ params }) => { expect(params['*']).type.toBe<string>(); return `files/${params['*']}` } })
  })
})

describe('a params schema wins', () => {
  test('TypeBox', () => {
    const schema = { params: Type.Object({ auctionId: Type.Integer() }), querystring: Type.Object({ since: Type.Optional(Type.String()) }) }
    typebox.stream('/auctions/:auctionId', {
      schema,
      topics: (request) => {
        expect(request.params).type.toBe<{ auctionId: number }>()
        expect(request.query).type.toBe<{ since?: string }>()
        return auction.at({ auctionId: String(request.params.auctionId) })
      }
    })
    typebox.channel('/auctions/:auctionId/live', {
      schema,
      topics: (request) => {
        expect(request.params).type.toBe<{ auctionId: number }>()
        return pets.at({})
      },
      preHandler: async (request) => { expect(request.params).type.toBe<{ auctionId: number }>() },
      messages: { bid: { handler: (_data, { params }) => { expect(params).type.toBe<{ auctionId: number }>() } } },
      binary: (_data, { params }) => { expect(params).type.toBe<{ auctionId: number }>() }
    })
  })

  test('plain JSON schema', () => {
    jsonSchema.channel('/auctions/:auctionId', {
      schema: { params: { type: 'object', properties: { auctionId: { type: 'integer' } }, required: ['auctionId'], additionalProperties: false } },
      topics: ({ params }) => {
        expect(params).type.toBe<{ auctionId: number }>()
        return 'pets'
      },
      messages: { bid: { handler: (_data, { params }) => { expect(params).type.toBe<{ auctionId: number }>() } } }
    })
  })

  test('a schema of other parts leaves the params to the URL', () => {
    typebox.stream('/auctions/:auctionId', {
      schema: { querystring: Type.Object({ since: Type.String() }) },
      topics: ({ params, query }) => {
        expect(params.auctionId).type.toBe<string>()
        expect(query).type.toBe<{ since: string }>()
        return auction.at(params)
      }
    })
  })
})

describe('messages', () => {
  test('each handler has the data of its own schema (TypeBox)', () => {
    typebox.channel('/auctions/:auctionId', {
      topics: auction,
      messages: {
        bid: {
          schema: Type.Object({ amount: Type.Number() }),
          async handler (data, context) {
            expect(data).type.toBe<{ amount: number }>()
            expect(context.connection).type.toBe<Connection>()
            expect(context.request).type.toBe<FastifyRequest>()
            return { accepted: true }
          }
        },
        watch: {
          schema: Type.Object({ petIds: Type.Array(Type.String()) }),
          handler: (data) => { expect(data).type.toBe<{ petIds: string[] }>() }
        },
        leave: { handler: (data) => { expect(data).type.toBe<unknown>() } }
      }
    })
  })

  test('and of plain JSON schema', () => {
    jsonSchema.channel('/auctions/:auctionId', {
      messages: {
        bid: {
          schema: { type: 'object', properties: { amount: { type: 'number' } }, required: ['amount'], additionalProperties: false },
          handler: (data) => { expect(data).type.toBe<{ amount: number }>() }
        },
        watch: {
          schema: { type: 'array', items: { type: 'string' } },
          handler: (data) => { expect(data).type.toBe<string[]>() }
        }
      }
    })
  })

  test('without a type provider their data is unknown', () => {
    app.channel('/a', {
      messages: { bid: { schema: Type.Object({ amount: Type.Number() }), handler: (data) => { expect(data).type.toBe<unknown>() } } }
    })
  })

  test('either a handler or a relay', () => {
    expect(typebox.channel).type.toBeCallableWith('/a', { messages: { typing: { relay: true } } })
    expect(typebox.channel).type.toBeCallableWith('/a', { messages: { typing: { schema: Type.Object({}), relay: true } } })
    expect(typebox.channel).type.toBeCallableWith('/a', { messages: { typing: { relay: true }, bid: { handler () {} } } })
    expect(typebox.channel).type.not.toBeCallableWith('/a', { messages: { typing: {} } })
    expect(typebox.channel).type.not.toBeCallableWith('/a', { messages: { bid: { shema: Type.Object({}), handler () {} } } })
    expect(typebox.channel).type.not.toBeCallableWith('/a', { messages: { typing: { schema: Type.Object({}) } } })
    expect(typebox.channel).type.not.toBeCallableWith('/a', { messages: { typing: { relay: false } } })
    expect(typebox.channel).type.toBeCallableWith('/a', { messages: { typing: { relay: { topic: 'rooms/:id' } } } })
    expect(typebox.channel).type.toBeCallableWith('/a', { messages: { typing: { relay: { topic: typebox.topic('halls/:id'), data: async () => undefined } } } })
    expect(typebox.channel).type.toBeCallableWith('/a', { messages: { typing: { relay: { topic: typebox.topic('lofts/:id').at({ id: '1' }) } } } })
    expect(typebox.channel).type.not.toBeCallableWith('/a', { messages: { typing: { relay: {} } } })
    expect(typebox.channel).type.not.toBeCallableWith('/a', { messages: { typing: { relay: { data: () => 1 } } } })
    expect(typebox.channel).type.not.toBeCallableWith('/a', { messages: { typing: { relay: { topic: 7 } } } })
    expect(typebox.channel).type.not.toBeCallableWith('/a', { messages: { typing: { relay: { topic: 'a', data: 7 } } } })
    expect(typebox.channel).type.not.toBeCallableWith('/a', { messages: { typing: { relay: { topic: 'a', event: 'b' } } } })
    expect(typebox.channel).type.not.toBeCallableWith('/a', { messages: { typing: { relay: true, handler () {} } } })
    expect(typebox.channel).type.not.toBeCallableWith('/a', { messages: { typing: { handler: 'typing' } } })
    expect(typebox.channel).type.not.toBeCallableWith('/a', { messages: { typing: () => {} } })
  })

  test('a relay may say what is sent in place of the data', () => {
    typebox.channel('/rooms/:roomId', {
      topics: pets,
      messages: {
        typing: {
          schema: Type.Object({ text: Type.String() }),
          relay: (data, { connection, params }) => {
            expect(data).type.toBe<{ text: string }>()
            expect(params.roomId).type.toBe<string>()
            return { by: connection.identity.id }
          }
        },
        bid: { schema: Type.Object({ amount: Type.Number() }), handler: (data) => { expect(data).type.toBe<{ amount: number }>() } }
      }
    })
    expect(typebox.channel).type.not.toBeCallableWith('/a', { messages: { typing: { relay: () => ({}), handler () {} } } })
    typebox.channel('/rooms/:id', {
      messages: {
        typing: {
          schema: Type.Object({ text: Type.String() }),
          relay: {
            topic: 'rooms/:id',
            data: (data, { connection, params }) => {
              expect(data).type.toBe<{ text: string }>()
              expect(params.id).type.toBe<string>()
              return { ...data, by: connection.identity.id }
            }
          }
        }
      }
    })
  })

  test('over HTTP, too', () => {
    expect(typebox.channel).type.toBeCallableWith('/a', { http: true, topics: 'a' })
    expect(typebox.channel).type.not.toBeCallableWith('/a', { http: 'yes', topics: 'a' })
  })

  test('the context can be named in a function of its own', () => {
    const leave = (_data: unknown, { connection, params, topic, key }: MessageContext<{ roomId: string }>): void => {
      expect(topic).type.toBe<string | undefined>()
      expect(key).type.toBe<string | undefined>()
      connection.unsubscribe(`rooms/${params.roomId}`)
    }
    expect(typebox.channel).type.toBeCallableWith('/rooms/:roomId', { messages: { leave: { handler: leave } } })
  })
})

describe('topics', () => {
  test('a Topic, a reference, a name, several, or a function', () => {
    expect(app.stream).type.toBeCallableWith('/a', { topics: pets })
    expect(app.stream).type.toBeCallableWith('/a', { topics: auction })
    expect(app.stream).type.toBeCallableWith('/a', { topics: auction.at({ auctionId: '42' }) })
    expect(app.stream).type.toBeCallableWith('/a/:id', { topics: 'auctions/:id' })
    expect(app.stream).type.toBeCallableWith('/a', { topics: [pets, auction, auction.at({ auctionId: '42' }), 'users/7'] })
    expect(app.stream).type.toBeCallableWith('/a', { topics: () => 'users/7' })
    expect(app.stream).type.toBeCallableWith('/a', { topics: () => pets.at({}) })
    expect(app.stream).type.toBeCallableWith('/a', { topics: () => [pets.at({}), 'users/7', auction.at({ auctionId: '42' })] })
    expect(app.stream).type.toBeCallableWith('/a', { topics: async () => [auction.at({ auctionId: '42' })] })
    expect(app.channel).type.toBeCallableWith('/a', { topics: [pets, 'users/7'] })
    expect(app.channel).type.toBeCallableWith('/a', { topics: async () => 'users/7' })
  })

  test('nothing else', () => {
    expect(app.stream).type.not.toBeCallableWith('/a', { topics: 7 })
    expect(app.stream).type.not.toBeCallableWith('/a', { topics: { auctionId: '42' } })
    expect(app.stream).type.not.toBeCallableWith('/a', { topics: [7] })
    expect(app.stream).type.not.toBeCallableWith('/a', { topics: () => undefined })
    expect(app.stream).type.not.toBeCallableWith('/a', { topics: () => pets }) // which has no params yet
    expect(app.channel).type.not.toBeCallableWith('/a', { topics: null })
  })

  test('what a client may join at run time', () => {
    expect(app.channel).type.toBeCallableWith('/a', { subscribe: auction })
    expect(app.channel).type.toBeCallableWith('/a', { subscribe: [auction, pets] })
    expect(app.channel).type.not.toBeCallableWith('/a', { subscribe: 'auctions/:auctionId' })
    expect(app.stream).type.not.toBeCallableWith('/a', { topics: pets, subscribe: auction })
  })
})

describe('options of routes', () => {
  const authenticate: preHandlerHookHandler = async () => {}

  test("Fastify's own are taken", () => {
    expect(app.stream).type.toBeCallableWith('/a', { topics: pets, preHandler: authenticate, config: {}, bodyLimit: 10, logLevel: 'warn' })
    expect(app.channel).type.toBeCallableWith('/a', { topics: pets, onRequest: [authenticate], constraints: { host: 'a.example' } })
    expect(app.channel).type.toBeCallableWith('/a', {
      topics: pets, preHandler: async (request: FastifyRequest, reply: FastifyReply) => { await reply.code(401).send(request.id) }
    })
  })

  test('those of a live connection', () => {
    const live = { heartbeat: 1000, maxBuffered: 100_000, slow: 'latest' } as const
    expect(app.stream).type.toBeCallableWith('/a', { topics: pets, ...live, retry: 500, open: 'id', method: ['GET', 'POST'] })
    expect(app.stream).type.toBeCallableWith('/a', { topics: pets, open: false, method: 'POST' })
    expect(app.channel).type.toBeCallableWith('/a', { topics: pets, ...live, origins: ['https://app.example'], limits: { burst: 5 } })
    expect(app.channel).type.toBeCallableWith('/a', { topics: pets, origins: '*' })
  })

  test('what is wrong is refused', () => {
    expect(app.stream).type.not.toBeCallableWith('/a')
    expect(app.stream).type.not.toBeCallableWith(7, { topics: pets })
    expect(app.stream).type.not.toBeCallableWith('/a', { topic: pets })
    expect(app.stream).type.not.toBeCallableWith('/a', { topics: pets, slow: 'drop' })
    expect(app.stream).type.not.toBeCallableWith('/a', { topics: pets, open: true })
    expect(app.stream).type.not.toBeCallableWith('/a', { topics: pets, method: 'PUT' })
    expect(app.stream).type.not.toBeCallableWith('/a', { topics: pets, heartbeat: '1s' })
    expect(app.stream).type.not.toBeCallableWith('/a', { topics: pets, messages: {} })
    expect(app.stream).type.not.toBeCallableWith('/a', { topics: pets, preHandler: 'authenticate' })
    expect(app.stream).type.not.toBeCallableWith('/a', { source: () => 7 })
    expect(app.channel).type.not.toBeCallableWith('/a', { topics: pets, limits: { rate: 5 } })
    expect(app.channel).type.not.toBeCallableWith('/a', { topics: pets, origins: 'https://app.example' })
    expect(app.channel).type.not.toBeCallableWith('/a', { topics: pets, retry: 500 })
    expect(app.channel).type.not.toBeCallableWith('/a', { topics: pets, handler: () => {} })
    expect(app.channel).type.not.toBeCallableWith('/a', { topics: pets, websocket: true })
  })

  test('a resumable source', () => {
    app.stream('/answers/:answerId', {
      source: () => [{ data: 'a' }],
      resumable: {
        maxAge: 1000,
        maxBytes: 1000,
        key: (request) => {
          expect(request.params.answerId).type.toBe<string>()
          return request.params.answerId
        }
      }
    })
    expect(app.stream).type.toBeCallableWith('/a', { source: () => [], resumable: true })
    expect(app.stream).type.not.toBeCallableWith('/a', { source: () => [], resumable: { maxEvents: 10 } })
    expect(app.stream).type.toBeCallableWith('/a', { source: () => [], resumable: { key: async () => '7', space: 'answers' } })
    expect(app.stream).type.not.toBeCallableWith('/a', { source: () => [], resumable: { key: () => 7 } })
    expect(app.stream).type.not.toBeCallableWith('/a', { source: () => [], resumable: { key: () => undefined } })
    expect(app.stream).type.not.toBeCallableWith('/a', { source: () => [], resumable: { space: 7 } })
    expect(app.channel).type.not.toBeCallableWith('/a', { topics: pets, resumable: true })
  })

  test('a source may be any iterable of events', () => {
    expect(app.stream).type.toBeCallableWith('/a', { source: () => [{ data: 'a' }] })
    expect(app.stream).type.toBeCallableWith('/a', { source: async () => new Set<SourceEvent>() })
    expect(app.stream).type.not.toBeCallableWith('/a', { source: () => [{ data: 'a', id: 7 }] })
  })
})

describe('chaining', () => {
  test('stream and channel return the instance they were called on', () => {
    expect(app.stream('/a', { topics: pets })).type.toBe(app)
    expect(typebox.stream('/a', { topics: pets }).channel('/b', { topics: pets })).type.toBe(typebox)
    expect(app.stream('/a', { topics: pets })).type.toBeAssignableTo<FastifyInstance>()
  })
})
