/** Who is asking: a signed cookie that the login sets; and the tokens that it hands out. */
import cookie from '@fastify/cookie'
import createError from '@fastify/error'
import fp from 'fastify-plugin'
import { Type } from 'typebox'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { dashboardTopic } from './dashboard.ts'
import type { Store } from './store.ts'

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
const NoSession = createError('NO_SESSION', 'Sign in first: POST /v1/session', 401)
const SignedOut = createError('SIGNED_OUT', '%s was signed out everywhere; sign in again', 401)
const NotThisPerson = createError('NOT_THIS_PERSON', '%s is not signed in in this browser', 403)
const BadUserId = createError('BAD_USER_ID', 'A userId is 1 to 40 letters, digits, spaces or . _ @ -', 400)

const name = 'petstore_people'
/** In one browser. Their list has to fit into a cookie. */
export const mostPeople = 16
const tokenMs = 10 * 60_000

export interface SessionOptions { store: Store, secret: string }

/** Who signed in in this browser, and in which of the person's sessions. */
type People = Map<string, number>

const plugin: FastifyPluginAsyncTypebox<SessionOptions> = async (app, { store, secret }) => {
  await app.register(cookie, { secret })
  app.decorateRequest('person', null)

  app.post('/v1/session', { schema: { body: Type.Object({ userId: UserId }) } }, async (request, reply) => {
    const { userId } = request.body
    // Cookies are shared by a browser's windows. The cookie therefore lists everybody who signed in here,
    // and `?userId=` says which of them a window is: two windows can be two people.
    const people = peopleOf(request)
    people.delete(userId)
    people.set(userId, await store.sessions(userId))
    const value = Buffer.from(JSON.stringify([...people].slice(-mostPeople))).toString('base64url')
    reply.setCookie(name, value, { signed: true, httpOnly: true, sameSite: 'lax', path: '/' })
    return welcome(userId)
  })

  // A window asks whether it is signed in still, and for a newer token before the one it has expires.
  app.get('/v1/session', async request => welcome(await signedIn(request)))

  app.delete('/v1/sessions', async request => {
    const userId = await signedIn(request)
    // First the cookies, so that nobody comes back with one; then the tokens, and whatever is open on any node.
    await store.endSessions(userId)
    await app.realtime.disconnect({ identity: userId }, { revoke: true })
    // And the stream of their browser, which may bear the name of another person there. Back it comes without them.
    await app.realtime.disconnect({ topic: `users/${encodeURIComponent(userId)}/notifications` })
    return { signedOut: userId }
  })

  function welcome (userId: string): { userId: string, token: string } {
    const token = app.realtime.sign({ sub: userId, subscribe: dashboardTopic, publish: dashboardTopic, expiresIn: tokenMs })
    return { userId, token }
  }

  /** By a cookie: a name alone is enough to look around, and not for this. */
  async function signedIn (request: FastifyRequest): Promise<string> {
    const people = peopleOf(request)
    const userId = askedFor(request) ?? [...people.keys()].at(-1)
    if (userId === undefined || !people.has(userId)) throw new NoSession()
    if (!await counts(store, people, userId)) throw new SignedOut(userId)
    return userId
  }
}

/** An onRequest hook: from here on `request.person` is known. */
export function whoIsAsking (store: Store): (request: FastifyRequest, reply: FastifyReply) => Promise<void> {
  return async request => {
    const people = peopleOf(request)
    const asked = askedFor(request)
    // Demo only: whoever has no cookie is believed, so that curl and other clients can try everything.
    // A real shop refuses here.
    if (asked !== undefined && people.size > 0 && !people.has(asked)) throw new NotThisPerson(asked)
    const id = asked ?? [...people.keys()].at(-1)
    const over = id !== undefined && people.has(id) && !await counts(store, people, id)
    if (over && asked !== undefined) throw new SignedOut(asked)
    request.person = id === undefined || over ? null : { id }
  }
}

/** A hook: all of `?people=` have to be signed in in this browser. As above, whoever has no cookie is believed. */
export function signedInHere (store: Store): (request: FastifyRequest, reply: FastifyReply) => Promise<void> {
  return async request => {
    const people = peopleOf(request)
    const { people: asked = [] } = request.query as { people?: string[] }
    for (const userId of people.size === 0 ? [] : asked) {
      if (!people.has(userId)) throw new NotThisPerson(userId)
      if (!await counts(store, people, userId)) throw new SignedOut(userId)
    }
  }
}

/** A hook for routes that no guest may use. */
export async function requirePerson (request: FastifyRequest, _reply: FastifyReply): Promise<void> {
  if (request.person === null) throw new NotSignedIn()
}

async function counts (store: Store, people: People, userId: string): Promise<boolean> {
  return people.get(userId) === await store.sessions(userId)
}

function askedFor (request: FastifyRequest): string | undefined {
  const { userId } = request.query as { userId?: unknown }
  if (userId === undefined) return undefined
  if (typeof userId !== 'string' || !userIdTest.test(userId)) throw new BadUserId()
  return userId
}

function peopleOf (request: FastifyRequest): People {
  const raw = request.cookies[name]
  if (raw === undefined) return new Map()
  const { valid, value } = request.unsignCookie(raw)
  return new Map(valid && value !== null ? JSON.parse(Buffer.from(value, 'base64url').toString()) as Array<[string, number]> : [])
}

export const session = fp(plugin, { name: 'petstore-session' })
