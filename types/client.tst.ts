/** The client: topics, events, messages and replies, by the types of what the server has anyway. */
import Fastify from 'fastify'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import { defineMessages } from 'fastify-realtime'
import { connect, type Client, type ClientEvent, type ConnectionEvent, type HeardMember, type Store } from 'fastify-realtime/client'
import { describe, expect, test } from 'tstyche'
import { Type } from 'typebox'
import { z } from 'zod'

const app = Fastify().withTypeProvider<TypeBoxTypeProvider>()
const zod = Fastify().withTypeProvider<ZodTypeProvider>()

const room = app.topic('rooms/:roomId', {
  events: { said: Type.Object({ text: Type.String() }), moved: Type.Object({ x: Type.Number() }) },
  presence: { info: ({ id }) => ({ name: id }), state: Type.Object({ typing: Type.Boolean() }) }
})
const news = app.topic('news', { events: { headline: Type.String() } })
const free = app.topic('free/:id')
const messages = defineMessages(app, {
  say: {
    schema: Type.Object({ text: Type.String() }),
    handler: async ({ text }, { connection }) => ({ length: text.length, by: connection.identity.id })
  },
  ping: { handler: () => 'pong' as const },
  cursor: { schema: Type.Object({ x: Type.Number() }), relay: { topic: room } }
})
interface Server { room: typeof room, news: typeof news, free: typeof free, messages: typeof messages }
const rt: Client<Server> = connect<Server>('/realtime')

describe('what a client may name', () => {
  test('patterns that the server has, with their params', () => {
    expect(rt.topic).type.toBeCallableWith('rooms/:roomId', { roomId: '1' })
    expect(rt.topic).type.toBeCallableWith('news')
    expect(rt.topic).type.not.toBeCallableWith('room/:roomId', { roomId: '1' })
    expect(rt.topic).type.not.toBeCallableWith('rooms/:roomId')
    expect(rt.topic).type.not.toBeCallableWith('rooms/:roomId', { room: '1' })
    expect(rt.topic).type.not.toBeCallableWith('news', { room: '1' })
  })

  test('events of the topic, and the client\'s own', () => {
    const topic = rt.topic('rooms/:roomId', { roomId: '1' })
    topic.on('said', (event) => { expect(event).type.toBe<ClientEvent<'said', { text: string }>>() })
    topic.on('said', ({ traceparent }) => { expect(traceparent).type.toBe<string | undefined>() })
    topic.on('reset', ({ data }) => { expect(data.reason).type.toBe<'unknown-cursor' | 'expired' | 'lost' | 'slow'>() })
    topic.on('*', (event) => { if (event.event === 'moved') expect(event.data).type.toBe<{ x: number }>() })
    expect(topic.on).type.not.toBeCallableWith('sung', () => {})
    expect(rt.topic('news').on).type.not.toBeCallableWith('said', () => {})
  })

  test('what is for this connection alone, whose data the server has not declared', () => {
    rt.on('welcome', (event) => { expect(event).type.toBe<ConnectionEvent>() })
    rt.on('*', ({ data }) => { expect(data).type.toBe<unknown>() })
    expect(rt.on('*', () => {})).type.toBe<() => void>()
  })

  test('any event, where a topic declares none', () => {
    rt.topic('free/:id', { id: '1' }).on('whatever', ({ data }) => { expect(data).type.toBe<unknown>() })
  })
})

describe('messages', () => {
  test('data in, the handler\'s answer out', async () => {
    expect(await rt.send('say', { text: 'a' })).type.toBe<{ length: number, by: string }>()
    expect(await rt.topic('news').send('ping', undefined)).type.toBe<'pong'>()
    expect(rt.send).type.not.toBeCallableWith('say', { text: 1 })
    expect(rt.send).type.not.toBeCallableWith('shout', { text: 'a' })
    expect(rt.topic('news').relay).type.toBeCallableWith('cursor', { x: 1 })
    expect(rt.topic('news').relay).type.not.toBeCallableWith('cursor', { y: 1 })
  })

  test('by the app\'s own type provider', async () => {
    const ours = defineMessages(zod, { add: { schema: z.object({ n: z.number() }), handler: ({ n }) => n + 1 } })
    zod.channel('/x', { messages: ours })
    const client = connect<{ ours: typeof ours }>('/x')
    expect(await client.send('add', { n: 1 })).type.toBe<number>()
    expect(client.send).type.not.toBeCallableWith('add', { n: '1' })
  })

  test('a channel takes them', () => {
    app.channel('/realtime', { topics: news, subscribe: [room, free], messages })
  })
})

describe('stores', () => {
  test('members are the topic\'s', () => {
    const { members } = rt.topic('rooms/:roomId', { roomId: '1' })
    expect(members.get()[0]?.info).type.toBe<{ name: string } | undefined>()
    expect(members.get()[0]?.state).type.toBe<{ typing: boolean } | undefined>()
    expect(rt.topic('rooms/:roomId', { roomId: '1' }).show).type.toBeCallableWith({ typing: true })
    expect(rt.topic('rooms/:roomId', { roomId: '1' }).show).type.not.toBeCallableWith({ typing: 'yes' })
  })
})

describe('a client that was told nothing', () => {
  test('takes everything', () => {
    const any = connect('/realtime')
    expect(any.topic).type.toBeCallableWith('rooms/:id', { id: '1' })
    any.topic('rooms/:id', { id: '1' }).on('said', () => {})
    expect(any.send).type.toBeCallableWith('say', { text: 'a' })
    expect(any.topic('rooms/:id', { id: '1' }).members).type.toBeAssignableTo<Store<readonly HeardMember[]>>()
  })
})
