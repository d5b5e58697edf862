/** Who is asking: a signed cookie that the login sets. */
import { randomBytes } from 'node:crypto'
import cookie from '@fastify/cookie'
import createError from '@fastify/error'
import fp from 'fastify-plugin'
import { Type } from 'typebox'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyReply, FastifyRequest } from 'fastify'

declare module 'fastify' {
  interface FastifyRequest {
    /** Null for a guest. */
    person: { id: string } | null
  }
}

const userIdPattern = '^[\\p{L}\\p{N}][\\p{L}\\p{N} ._@-]{0,39}$'
const userIdTest = new RegExp(userIdPattern, 'u')

export const UserId = Type.String({ pattern: userIdPattern })

const NotSignedIn = createError('NOT_SIGNED_IN', 'Sign in, or name yourself with ?userId=', 401)
const NotThisPerson = createError('NOT_THIS_PERSON', '%s is not signed in in this browser', 403)
const BadUserId = createError('BAD_USER_ID', 'A userId is 1 to 40 letters, digits, spaces or . _ @ -', 400)

const name = 'petstore_session'
const peopleKept = 8

const plugin: FastifyPluginAsyncTypebox = async app => {
  // Without a secret of its own a restart signs everybody out; the page then signs in again by itself.
  await app.register(cookie, { secret: process.env.SESSION_SECRET ?? randomBytes(32).toString('hex') })
  app.decorateRequest('person', null)

  app.post('/v1/session', { schema: { body: Type.Object({ userId: UserId }) } }, async (request, reply) => {
    const { userId } = request.body
    // Cookies are shared by a browser's windows. The cookie therefore lists everybody who signed in here,
    // and `?userId=` says which of them a window is: two windows can be two people.
    const people = [...peopleOf(request).filter(id => id !== userId), userId].slice(-peopleKept)
    const value = Buffer.from(JSON.stringify(people)).toString('base64url')
    reply.setCookie(name, value, { signed: true, httpOnly: true, sameSite: 'lax', path: '/' })
    return { userId }
  })
}

/** An onRequest hook: from here on `request.person` is known. */
export async function whoIsAsking (request: FastifyRequest, _reply: FastifyReply): Promise<void> {
  const signedIn = peopleOf(request)
  const asked = askedFor(request)
  // Demo only: whoever has no cookie is believed, so that curl and other clients can try everything.
  // A real shop refuses here.
  if (asked !== undefined && signedIn.length > 0 && !signedIn.includes(asked)) throw new NotThisPerson(asked)
  const id = asked ?? signedIn.at(-1)
  request.person = id === undefined ? null : { id }
}

/** A hook for routes that no guest may use. */
export async function requirePerson (request: FastifyRequest, _reply: FastifyReply): Promise<void> {
  if (request.person === null) throw new NotSignedIn()
}

function askedFor (request: FastifyRequest): string | undefined {
  const { userId } = request.query as { userId?: unknown }
  if (userId === undefined) return undefined
  if (typeof userId !== 'string' || !userIdTest.test(userId)) throw new BadUserId()
  return userId
}

function peopleOf (request: FastifyRequest): string[] {
  const raw = request.cookies[name]
  if (raw === undefined) return []
  const { valid, value } = request.unsignCookie(raw)
  return valid && value !== null ? JSON.parse(Buffer.from(value, 'base64url').toString()) as string[] : []
}

export const session = fp(plugin, { name: 'petstore-session' })
