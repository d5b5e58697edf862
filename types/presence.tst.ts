/** Presence: members typed by what `info` returns and by the schema of `state`. */
import Fastify from 'fastify'
import type { FastifyInstance, FastifyRequest, FastifyTypeProvider } from 'fastify'
import type { JsonSchemaToTsProvider } from '@fastify/type-provider-json-schema-to-ts'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import type {
  AnyTopic, InformedMember, Member, MemberPage, PresenceOptions, RealtimeIdentity, Topic, TopicOptions
} from 'fastify-realtime'
import { describe, expect, test } from 'tstyche'
import { Type, type Static, type TSchema } from 'typebox'
import { z } from 'zod'

const app = Fastify()
const typebox = app.withTypeProvider<TypeBoxTypeProvider>()
const jsonSchema = app.withTypeProvider<JsonSchemaToTsProvider>()
const zod = app.withTypeProvider<ZodTypeProvider>()
/** A type provider of the app's own, with no word on what is no schema. */
interface OwnProvider extends FastifyTypeProvider {
  validator: Static<Extract<this['schema'], TSchema>>
  serializer: Static<Extract<this['schema'], TSchema>>
}
const own = app.withTypeProvider<OwnProvider>()
const Typing = Type.Object({ typing: Type.Boolean() })

/** A member of the topic. */
async function someone<Shown extends Member> (topic: Topic<{ room: string }, never, Shown>): Promise<Shown> {
  const { members: [member] } = await topic.presence({ room: '1' })
  if (!member) throw new Error('nobody')
  return member
}

describe('info', () => {
  test('is what the function returns', async () => {
    const room = app.topic('rooms/:room', {
      presence: {
        info: ({ id }, request) => {
          expect(id).type.toBe<string>()
          expect(request).type.toBe<FastifyRequest>()
          return { name: id }
        }
      }
    })
    expect(room.presence({ room: '1' })).type.toBe<Promise<MemberPage<InformedMember<{ name: string }>>>>()
    const member = await someone(room)
    expect(member.id).type.toBe<string>()
    expect(member.info).type.toBe<{ name: string }>()
    expect(member.state).type.toBe<unknown>()
    expect(member.info).type.not.toHaveProperty('nickname')
  })

  test('awaited, where it is async', async () => {
    const later = app.topic('rooms/:room', { presence: { info: async ({ id }) => ({ name: id }) } })
    expect((await someone(later)).info).type.toBe<{ name: string }>()
    const either = app.topic('rooms/:room', {
      presence: { info: ({ id }) => id === 'ada' ? 1 : Promise.resolve('late') }
    })
    expect((await someone(either)).info).type.toBe<string | 1>()
  })

  test('may be missing, where the function may return undefined', async () => {
    const room = app.topic('rooms/:room', { presence: { info: ({ id }) => id === 'ada' ? { name: id } : undefined } })
    expect(await someone(room)).type.toBe<Member<{ name: string }>>()
    expect((await someone(room)).info).type.toBe<{ name: string } | undefined>()
    const later = app.topic('rooms/:room', { presence: { info: async ({ id }) => id === 'ada' ? { name: id } : undefined } })
    expect(await someone(later)).type.toBe<Member<{ name: string }>>()
    const load = async (name: string): Promise<{ name: string }> => ({ name })
    const some = app.topic('rooms/:room', { presence: { info: ({ id }) => id === 'ada' ? load(id) : undefined } })
    expect(await someone(some)).type.toBe<Member<{ name: string }>>()
  })

  test('of a function from elsewhere', async () => {
    const info = async (identity: RealtimeIdentity): Promise<{ name: string, admin?: boolean }> => ({ name: identity.id })
    const room = app.topic('rooms/:room', { presence: { info } })
    expect((await someone(room)).info).type.toBe<{ name: string, admin?: boolean }>()
  })

  test('is unknown without it', async () => {
    expect(await someone(app.topic('rooms/:room'))).type.toBe<Member>()
    expect(await someone(app.topic('rooms/:room', { presence: true }))).type.toBe<Member>()
    expect(await someone(app.topic('rooms/:room', { presence: {} }))).type.toBe<Member>()
    const presence: boolean | PresenceOptions = {}
    expect(await someone(app.topic('rooms/:room', { presence }))).type.toBe<Member>()
    expect(await someone(app.topic('rooms/:room', { presence: { grace: 0, ...presence } }))).type.toBe<Member>()
    expect<Member['info']>().type.toBe<unknown>()
  })
})

describe('state', () => {
  test('has the type of its TypeBox schema, once the client has said something', async () => {
    const room = typebox.topic('rooms/:room', { presence: { info: ({ id }) => ({ name: id }), state: Typing } })
    const member = await someone(room)
    expect(member).type.toBe<InformedMember<{ name: string }, { typing: boolean }>>()
    expect(member.info).type.toBe<{ name: string }>()
    expect(member.state).type.toBe<{ typing: boolean } | undefined>()
    const alone = typebox.topic('rooms/:room', { presence: { state: Typing } })
    expect(await someone(alone)).type.toBe<Member<unknown, { typing: boolean }>>()
  })

  test('of plain JSON schema, without "as const"', async () => {
    const room = jsonSchema.topic('rooms/:room', {
      presence: { state: { type: 'object', properties: { at: { enum: ['desk', 'lunch'] } }, required: ['at'], additionalProperties: false } }
    })
    expect((await someone(room)).state).type.toBe<{ at: 'desk' | 'lunch' } | undefined>()
  })

  test('of zod', async () => {
    const room = zod.topic('rooms/:room', { presence: { state: z.object({ typing: z.boolean().default(false) }) } })
    expect((await someone(room)).state).type.toBe<{ typing: boolean } | undefined>()
  })

  test('is unknown without a type provider', async () => {
    const room = app.topic('rooms/:room', { presence: { state: Typing } })
    expect((await someone(room)).state).type.toBe<unknown>()
  })
})

describe('callbacks', () => {
  test('onJoin is told of the same members', () => {
    typebox.topic('rooms/:room', {
      presence: {
        info: async ({ id }) => ({ name: id }),
        state: Typing,
        onJoin: (member, { topic }) => {
          expect(member).type.toBe<InformedMember<{ name: string }, { typing: boolean }>>()
          expect(topic).type.toBe<string>()
        },
        onLeave: (member, { reason }) => {
          expect(member).type.toBe<{ id: string }>()
          expect(reason).type.toBe<'left' | 'lost' | 'removed'>()
        }
      }
    })
    typebox.topic('rooms/:room', {
      presence: { onJoin: (member) => { expect(member).type.toBe<Member<unknown, { typing: boolean }>>() }, state: Typing }
    })
    app.topic('rooms/:room', { presence: { onJoin: (member) => { expect(member).type.toBe<Member>() } } })
  })

  test('info is unknown where onJoin comes before it', async () => {
    const room = typebox.topic('rooms/:room', {
      presence: {
        onJoin: (member) => { expect(member).type.toBe<Member<unknown, { typing: boolean }>>() },
        info: ({ id }) => ({ name: id }),
        state: Typing
      }
    })
    expect(await someone(room)).type.toBe<Member<unknown, { typing: boolean }>>()
  })

  test('with a parameter that says its type', async () => {
    const onJoin = (member: Member): string => member.id
    const room = app.topic('rooms/:room', { presence: { onJoin, info: ({ id }) => ({ name: id }) } })
    expect((await someone(room)).info).type.toBe<{ name: string }>()
    const named = ({ info }: Member<{ name: string }>): string | undefined => info?.name
    expect(app.topic).type.toBeCallableWith('a', { presence: { onJoin: named, info: () => ({ name: 'Ada' }) } })
    expect(app.topic).type.not.toBeCallableWith('a', { presence: { onJoin: named, info: () => ({ name: 1 }) } })
  })
})

describe('other options beside it', () => {
  test('params, events and members are all inferred', async () => {
    const room = typebox.topic('rooms/:room', {
      authorize: (_request, { params }) => params.room !== '',
      events: { said: Type.Object({ text: Type.String() }) },
      presence: { grace: 0, id: ({ id }) => id, info: ({ id }) => ({ name: id }), state: Typing },
      snapshot: ({ room }) => room
    })
    expect(room).type.toBe<Topic<
      { room: string }, { readonly said: { text: string } }, InformedMember<{ name: string }, { typing: boolean }>,
      'rooms/:room'
    >>()
    expect(room.presence).type.not.toBeCallableWith({})
    expect(room.presence).type.not.toBeCallableWith({ room: '1' }, { before: 'ada' })
  })

  test('what is wrong is refused', () => {
    expect(app.topic).type.not.toBeCallableWith('a', { presence: 'yes' })
    expect(app.topic).type.not.toBeCallableWith('a', { presence: { info: { name: 'Ada' } } })
    expect(app.topic).type.not.toBeCallableWith('a', { presence: { onJoin: true } })
    expect(app.topic).type.not.toBeCallableWith('a', { presence: { mode: 'all' } })
    expect(app.topic).type.not.toBeCallableWith('a', { presence: { information: () => 1 } })
    expect<{ presence: { grace: '1' } }>().type.not.toBeAssignableTo<TopicOptions<object, object>>()
    expect<{ presence: { grace: 1 } }>().type.toBeAssignableTo<TopicOptions<object, object>>()
  })
})

describe('what takes any topic, or any app', () => {
  const room = typebox.topic('rooms/:room', { presence: { info: ({ id }) => ({ name: id }), state: Typing } })

  test('takes one with typed members', () => {
    expect(room).type.toBeAssignableTo<AnyTopic>()
    expect(room).type.toBeAssignableTo<Topic<{ room: string }>>()
    expect(room).type.toBeAssignableTo<Topic>()
    expect(room).type.toBeAssignableTo<Topic<{ room: string }, Record<string, unknown>, Member<{ name: string }>>>()
    expect(room).type.not.toBeAssignableTo<Topic<{ room: string }, Record<string, unknown>, Member<{ name: number }>>>()
    expect(app.topic('rooms/:room', { presence: true })).type.not.toBeAssignableTo<typeof room>()
    expect(app.stream).type.toBeCallableWith('/rooms/:room', { topics: room, presence: true })
    expect(app.channel).type.toBeCallableWith('/rooms/:room', { topics: room, subscribe: room })
    expect(app.realtime.sign).type.toBeCallableWith({ sub: 'ada', subscribe: [room, room.at({ room: '1' })] })
  })

  test('an app under another type provider stays an app', () => {
    expect(typebox).type.toBeAssignableTo<FastifyInstance>()
    expect(jsonSchema).type.toBeAssignableTo<FastifyInstance>()
    expect(zod).type.toBeAssignableTo<FastifyInstance>()
    expect(app).type.toBeAssignableTo<typeof typebox>()
    expect(app).type.toBeAssignableTo<typeof own>()
    expect(own).type.toBeAssignableTo<FastifyInstance>()
  })
})
