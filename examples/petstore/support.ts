/** Support chat: messages with history, who is there, typing as client events, pictures as binary messages. */
import createError from '@fastify/error'
import { Type } from 'typebox'
import type { Snapshot } from 'fastify-realtime'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { introducing, type Shop } from './node.ts'
import { requirePerson } from './session.ts'

const RoomParams = Type.Object({ roomId: Type.String({ pattern: '^[\\w-]{1,40}$' }) })
const Message = Type.Object({ userId: Type.String(), at: Type.Integer(), text: Type.String() })
const Picture = Type.Object({
  userId: Type.String(),
  at: Type.Integer(),
  size: Type.Integer(),
  /** Where the picture is, for those who came after its bytes. */
  picture: Type.String()
})
const Past = Type.Object({ messages: Type.Array(Type.Union([Message, Picture])) })

const NotAPicture = createError('NOT_A_PICTURE', 'Send a PNG, JPEG, GIF or WebP picture', 415)
const PictureNotFound = createError('PICTURE_NOT_FOUND', 'There is no such picture (any more)', 404)

const kept = 60

export const support: FastifyPluginAsyncTypebox<Shop> = async (app, { node }) => {
  const room = app.topic('support/:roomId', {
    // A picture is two events: its bytes, which travel as one binary message, and then whose they are.
    events: {
      message: Message,
      picture: Picture,
      'picture-bytes': Type.Unsafe<Uint8Array>({}),
      typing: Type.Object({ userId: Type.String() }),
      history: Past
    },
    history: { limit: kept, maxAge: 24 * 60 * 60_000, maxBytes: 2 ** 21 },
    snapshot: past,
    presence: true
  })

  // The page shows: support
  app.channel('/support/:roomId', {
    schema: { params: RoomParams },
    preHandler: requirePerson,
    topics: room,
    presence: true,
    messages: {
      message: {
        schema: Type.Object({ text: Type.String({ minLength: 1, maxLength: 2000 }) }),
        handler: async ({ text }, { connection, params }) => {
          await room.publish(params, 'message', { userId: connection.identity.id, text, at: Date.now() })
        }
      },
      // The page shows: until here
      // Who is typing is said by the server, whatever the client has written.
      typing: {
        schema: Type.Object({ userId: Type.Optional(Type.String({ maxLength: 40 })) }),
        relay: (_hint, { connection }) => ({ userId: connection.identity.id })
      }
    },
    ...introducing(node),
    async binary (bytes, { connection, params }) {
      if (pictureType(bytes) === undefined) throw new NotAPicture()
      const { roomId } = params
      const { id } = await room.publish({ roomId }, 'picture-bytes', bytes)
      await room.publish({ roomId }, 'picture', {
        userId: connection.identity.id,
        at: Date.now(),
        size: bytes.length,
        picture: `/v1/support/${roomId}/pictures/${id}`
      })
    }
  })

  app.get('/v1/support/:roomId/pictures/:pictureId', {
    schema: { params: Type.Object({ ...RoomParams.properties, pictureId: Type.String({ maxLength: 100 }) }) }
  }, async (request, reply) => {
    const { roomId, pictureId } = request.params
    const { events } = await room.history({ roomId }, { limit: kept })
    const found = events.find(({ id, event }) => id === pictureId && event === 'picture-bytes')
    if (found === undefined) throw new PictureNotFound()
    const bytes = Buffer.from(found.data as Uint8Array)
    return reply.type(pictureType(bytes) ?? 'application/octet-stream').header('x-content-type-options', 'nosniff').send(bytes)
  })

  /** What a late joiner sees first. `at` says how far it reaches, so that nothing comes twice. */
  async function past ({ roomId }: { roomId: string }): Promise<Snapshot> {
    const { events } = await room.history({ roomId }, { limit: kept })
    const messages = events.filter(({ event }) => event === 'message' || event === 'picture').map(({ data }) => data)
    const last = events.at(-1)
    return { event: 'history', data: { messages }, ...(last === undefined ? {} : { at: last.id }) }
  }
}

/** Told by the first bytes: what a client says its file is proves nothing. */
function pictureType (bytes: Uint8Array): string | undefined {
  const head = Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(bytes.length, 12)).toString('latin1')
  if (head.startsWith('\x89PNG\r\n\x1A\n')) return 'image/png'
  if (head.startsWith('\xFF\xD8\xFF')) return 'image/jpeg'
  if (head.startsWith('GIF8')) return 'image/gif'
  if (head.startsWith('RIFF') && head.endsWith('WEBP')) return 'image/webp'
  return undefined
}
