/** The plugin: its options, `app.realtime`, connections and who is behind them. */
import Fastify from 'fastify'
import type { FastifyRequest } from 'fastify'
import realtime, { errors, fastifyRealtime, memory } from 'fastify-realtime'
import type {
  Adapter, Connection, EventId, HistoryPage, MemoryOptions, Published, Realtime, RealtimeIdentity, RealtimeOptions, RealtimeStats
} from 'fastify-realtime'
import { describe, expect, test } from 'tstyche'

declare module 'fastify-realtime' {
  interface RealtimeIdentity {
    displayName?: string
  }
}

const app = Fastify()

describe('registering', () => {
  test('with and without options', () => {
    expect(app.register).type.toBeCallableWith(realtime)
    expect(app.register).type.toBeCallableWith(realtime, {})
    expect(app.register).type.toBeCallableWith(fastifyRealtime, { adapter: memory({ maxBytes: 1 << 20, headAge: 1000 }) })
  })

  test('every option', () => {
    expect(app.register).type.toBeCallableWith(realtime, {
      identify: async (request: FastifyRequest) => ({ id: request.ip, displayName: 'Ada' }),
      history: { limit: 10, maxAge: 1000, maxBytes: 1000 },
      ringBytes: 0,
      heartbeat: 1000,
      retry: 0,
      open: false,
      maxBuffered: 1 << 20,
      maxEventBytes: 1000,
      maxTopics: 3,
      maxConnections: 3,
      maxConnectionsPerAddress: 3,
      maxConnectionsPerIdentity: 3,
      leaveTimeout: 3,
      slow: 'reset',
      closeTimeout: 0,
      validate: false,
      origins: ['https://app.example'],
      hosts: ['app.example'],
      limits: { messageBytes: 1, messagesPerSecond: 1, burst: 1, topicsPerMinute: 1, faults: 1, queue: 1 },
      websocket: false
    })
  })

  test('wrong options are refused', () => {
    expect<RealtimeOptions>().type.not.toBeAssignableWith({ heartbeat: '25s' })
    expect<RealtimeOptions>().type.not.toBeAssignableWith({ slow: 'drop' })
    expect<RealtimeOptions>().type.not.toBeAssignableWith({ history: true })
    expect<RealtimeOptions>().type.not.toBeAssignableWith({ open: true })
    expect<RealtimeOptions>().type.not.toBeAssignableWith({ origins: 'https://app.example' })
    expect<RealtimeOptions>().type.not.toBeAssignableWith({ limits: { burst: '1' } })
    expect<RealtimeOptions>().type.not.toBeAssignableWith({ adapter: 'memory' })
    expect<RealtimeOptions>().type.not.toBeAssignableWith({ identify: () => 'u1' })
    expect<RealtimeOptions>().type.not.toBeAssignableWith({ identify: () => ({ name: 'no id' }) })
    expect<RealtimeOptions>().type.not.toBeAssignableWith({ unheardOf: true })
    expect(memory).type.not.toBeCallableWith({ maxBytes: '1 MB' })
    expect(memory).type.not.toBeCallableWith({ maxByte: 1 })
  })

  test('memory() is an adapter', () => {
    expect(memory).type.toBe<(options?: MemoryOptions) => Adapter>()
  })
})

describe('app.realtime', () => {
  test('publishes and reads by full name, untyped', () => {
    expect(app.realtime).type.toBe<Realtime>()
    expect(app.realtime.publish('auctions/42', 'bid', { amount: 1 }, { key: 'a', dedupe: 'b' })).type.toBe<Promise<Published>>()
    expect(app.realtime.history('auctions/42', { after: '1-0.x', limit: 3 })).type.toBe<Promise<HistoryPage>>()
    expect(app.realtime.publish).type.not.toBeCallableWith({ auctionId: '42' }, 'bid', 1)
    expect(app.realtime.publish).type.not.toBeCallableWith('auctions/42', 'bid', 1, { dedup: 'b' })
    expect(app.realtime.history).type.not.toBeCallableWith('auctions/42', { before: '1-0.x' })
  })

  test('ends connections, by what is known of them', () => {
    expect(app.realtime.disconnect).type.toBeCallableWith({ identity: 'u1' }, { code: 4000, text: 'kicked', reconnect: false })
    expect(app.realtime.disconnect).type.not.toBeCallableWith({ identiy: 'u1' })
    expect(app.realtime.disconnect).type.not.toBeCallableWith({ identity: 'u1' }, { cod: 4000 })
    expect(app.realtime.revoke).type.not.toBeCallableWith({ identiy: 'u1' }, 'auctions/42')
  })

  test('stops a resumable source', () => {
    expect(app.realtime.stop('42')).type.toBe<Promise<boolean>>()
    expect(app.realtime.stop('42', { space: '/answers/:id' })).type.toBe<Promise<boolean>>()
    expect(app.realtime.stop).type.not.toBeCallableWith('42', { spaces: '/answers/:id' })
  })

  test('counts', () => {
    expect(app.realtime.count('auctions/42')).type.toBe<Promise<number>>()
    expect(app.realtime.countLocal('auctions/42')).type.toBe<number>()
    expect(app.realtime.connections()).type.toBe<Connection[]>()
    expect(app.realtime.stats()).type.toBe<RealtimeStats>()
    expect(app.realtime.stats().connections).type.toBe<{ sse: number, websocket: number, process: number }>()
  })
})

describe('a connection', () => {
  const [connection] = app.realtime.connections() as [Connection]

  test('its identity has the fields that the app has merged', () => {
    expect(connection.identity).type.toBe<RealtimeIdentity>()
    expect(connection.identity.id).type.toBe<string>()
    expect(connection.identity.anonymous).type.toBe<boolean | undefined>()
    expect(connection.identity.displayName).type.toBe<string | undefined>()
    expect(connection.identity).type.not.toHaveProperty('name')
    expect<RealtimeOptions>().type.toBeAssignableWith({ identify: () => ({ id: 'u1', displayName: 'Ada' }) })
    expect<RealtimeOptions>().type.toBeAssignableWith({ identify: () => null })
    expect<RealtimeOptions>().type.not.toBeAssignableWith({ identify: () => ({ id: 'u1', displayName: 7 }) })
  })

  test('what it says of itself', () => {
    expect(connection.id).type.toBe<string>()
    expect(connection.kind).type.toBe<'sse' | 'websocket' | 'process'>()
    expect(connection.topics).type.toBe<string[]>()
    expect(connection.signal).type.toBe<AbortSignal>()
    expect(connection.closed).type.toBe<boolean>()
    expect(connection.data).type.toBe<Record<string, unknown>>()
  })

  test('what it can be told', () => {
    const auction = app.topic('auctions/:auctionId')
    expect(connection.send).type.toBeCallableWith('outbid', { amount: 7 })
    expect(connection.send).type.not.toBeCallableWith({ event: 'outbid' })
    expect(connection.subscribe(auction.at({ auctionId: '42' }))).type.toBe<Promise<void>>()
    expect(connection.subscribe).type.toBeCallableWith('auctions/42')
    expect(connection.subscribe).type.not.toBeCallableWith(auction)
    expect(connection.unsubscribe).type.toBeCallableWith('auctions/42')
    expect(connection.close).type.toBeCallableWith()
    expect(connection.close).type.toBeCallableWith({ code: 4000, text: 'kicked', reconnect: true })
    expect(connection.close).type.not.toBeCallableWith(4000)
    expect(connection.close).type.not.toBeCallableWith({ cod: 4000 })
  })
})

describe('errors', () => {
  test('can be told by instanceof, and have a code and a status', () => {
    const error = new errors.TopicUnknown('nope')
    expect(error).type.toBeAssignableTo<Error>()
    expect(error.code).type.toBe<`FST_ERR_REALTIME_${string}`>()
    expect(error.statusCode).type.toBeAssignableTo<number | undefined>()
    expect(errors).type.toHaveProperty('EventTooLarge')
  })

  test('an id is text', () => {
    expect<EventId>().type.toBe<string>()
  })
})
