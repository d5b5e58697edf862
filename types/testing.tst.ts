/** The test kit. */
import Fastify from 'fastify'
import type { IncomingHttpHeaders } from 'node:http'
import nodeTest from 'node:test'
import type { ChannelRefused, StreamRefused } from 'fastify-realtime/testing'
import {
  connectChannel, connectStream,
  type ChannelClient, type ChannelEnd, type Received, type StreamClient
} from 'fastify-realtime/testing'
import tap from 'tap'
import { describe, expect, test } from 'tstyche'

const app = Fastify()

describe('streams', () => {
  const client = {} as StreamClient

  test('connecting', () => {
    expect(connectStream(app, '/events')).type.toBe<Promise<StreamClient>>()
    expect(connectStream).type.toBeCallableWith(app, '/events', { headers: { cookie: 'a=b' }, lastEventId: '1-0.x', timeout: 100 })
    expect(connectStream).type.toBeCallableWith(app, '/answers', { method: 'POST', body: { question: 'why' } })
    expect(connectStream).type.not.toBeCallableWith('/events')
    expect(connectStream).type.not.toBeCallableWith(app, '/events', { method: 'PUT' })
    expect(connectStream).type.not.toBeCallableWith(app, '/events', { lastEventID: '1-0.x' })
  })

  test('closing with a test of tap or of Node', () => {
    expect(connectStream).type.toBeCallableWith(app, '/events', { t: tap })
    nodeTest('a test', (t) => { expect(connectStream).type.toBeCallableWith(app, '/events', { t }) })
    expect(client).type.toBeAssignableTo<AsyncDisposable>()
  })

  test('reading', () => {
    expect(client.next()).type.toBe<Promise<Received>>()
    expect(client.next).type.toBeCallableWith('bid')
    expect(client.events).type.toBe<readonly Received[]>()
    expect<Received>().type.toBe<{ event: string, data: unknown, id?: string, prev?: string, topic?: string, key?: string }>()
    expect(client.lastEventId).type.toBe<string | undefined>()
    expect(client.headers).type.toBe<IncomingHttpHeaders>()
    expect(client.retry).type.toBe<number | undefined>()
    expect(client.ended).type.toBe<Promise<void>>()
  })

  test('going and coming back', () => {
    expect(client.drop()).type.toBe<Promise<void>>()
    expect(client.resume()).type.toBe<Promise<void>>()
    expect(client.close()).type.toBe<Promise<void>>()
  })

  test('being refused', () => {
    const refused = {} as StreamRefused
    expect(refused).type.toBeAssignableTo<Error>()
    expect(refused.statusCode).type.toBe<number>()
    expect(refused.body).type.toBe<unknown>()
  })
})

describe('channels', () => {
  const client = {} as ChannelClient

  test('connecting', () => {
    expect(connectChannel(app, '/live')).type.toBe<Promise<ChannelClient>>()
    expect(connectChannel).type.toBeCallableWith(app, '/live', { format: 'envelope', cursors: { 'auctions/42': '1-0.x' }, t: tap })
    expect(connectChannel).type.toBeCallableWith(app, '/live', { format: 'flat', headers: { origin: 'https://app.example' } })
    expect(connectChannel).type.not.toBeCallableWith(app, '/live', { format: 'binary' })
    expect(connectChannel).type.not.toBeCallableWith(app, '/live', { cursors: ['1-0.x'] })
    expect(connectChannel).type.not.toBeCallableWith(app, '/live', { cursor: { 'auctions/42': '1-0.x' } })
  })

  test('talking', () => {
    expect(client.send).type.toBeCallableWith('bid', { amount: 1 })
    expect(client.send).type.not.toBeCallableWith('bid', 1)
    expect(client.request('bid', { amount: 1 })).type.toBe<Promise<unknown>>()
    expect(client.sendRaw).type.toBeCallableWith(new Uint8Array(1))
    expect(client.next('bid')).type.toBe<Promise<Received>>()
    expect(client.cursors).type.toBe<Record<string, string>>()
  })

  test('ending', () => {
    expect(client.ended).type.toBe<Promise<ChannelEnd>>()
    expect<ChannelEnd>().type.toBe<{ code: number, reason: string }>()
    expect(client.close()).type.toBe<Promise<ChannelEnd>>()
    expect(client).type.toBeAssignableTo<AsyncDisposable>()
    expect({} as ChannelRefused).type.toBeAssignableTo<Error>()
  })
})
