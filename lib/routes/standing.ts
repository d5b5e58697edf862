/** Who a client is by what it has brought, what that allows, and until when. */
import type { FastifyRequest } from 'fastify'
import { readIdentity, type Identity } from '../core/identity.ts'
import { andThen, type MaybePromise } from '../core/maybe-promise.ts'
import type { TopicAt } from '../core/topics/topic.ts'
import { TokenInvalid } from '../errors.ts'
import { issueOf, type Claims } from '../features/grants/claims.ts'
import type { Grant } from '../features/grants/grant.ts'
import type { Holder, Holding } from '../features/grants/holding.ts'
import { authorizeAll, type Asking } from './authorize.ts'
import type { WireContext } from './context.ts'

type Allowed = ReadonlyMap<string, Grant> | undefined

/** What was found out about a client before it is let in. */
export interface Judged {
  readonly topics: TopicAt[]
  readonly allowed: Allowed
  readonly claims: Claims | undefined
  readonly identity: Identity | undefined
  /** Nothing but its token says who it is. */
  readonly isBearer: boolean
  /** What its `open` may bring. */
  readonly awaits: Awaits
}

/** `token`: what a token opens is judged at `open`. `identity`: so is who the client is. */
type Awaits = 'nothing' | 'token' | 'identity'

type Ask = (request: FastifyRequest) => MaybePromise<TopicAt[]>

export function anonymous (id: string): Identity {
  return { id: `anonymous:${id}`, anonymous: true }
}

/**
 * Asks the app about a client. `opens`: its wire lets it bring a token later.
 * @throws what it is refused by
 */
export function judge (
  context: WireContext, request: FastifyRequest, topicsFor: Ask, opens = false
): MaybePromise<Judged> {
  const { grants, hub } = context
  return andThen(grants.brought(request), (claims) => {
    const later = opens && grants.tokens !== undefined && claims === undefined
    return andThen(topicsFor(request), (topics) =>
      andThen(authorizeAll({ hub, request, claims }, later ? topics.filter(isOpenNow) : topics), (allowed) =>
        andThen(identify(context, request), (given): Judged => {
          const named = given !== undefined && given.anonymous !== true
          return {
            topics,
            allowed,
            claims,
            identity: grants.identityOf(given, claims),
            isBearer: claims !== undefined && !named,
            awaits: !later ? 'nothing' : named ? 'token' : 'identity'
          }
        })))
  })
}

/** The topics of which all is known before its `open`. */
export function judgedNow ({ topics, awaits }: Judged): TopicAt[] {
  return awaits === 'nothing' ? topics : awaits === 'token' ? topics.filter(isOpenNow) : []
}

function isOpenNow ({ topic }: TopicAt): boolean {
  return topic.policy.authorize !== 'token'
}

function identify ({ hub, settings }: WireContext, request: FastifyRequest): MaybePromise<Identity | undefined> {
  return andThen(hub.patience.call<unknown>('"identify"', () => settings.identify(request)), readIdentity)
}

export class Standing {
  identity: Identity
  awaits: Awaits
  readonly #context: WireContext
  readonly #request: FastifyRequest
  #claims: Claims | undefined
  /** Nothing but its token says who it is. */
  #byToken: boolean
  /** Made where something of it ends, or says something. */
  #holding: Holding | undefined

  /** `id`: of the connection. */
  constructor (
    context: WireContext, request: FastifyRequest, id: string, { identity, isBearer, claims, awaits }: Judged
  ) {
    this.#context = context
    this.#request = request
    this.#claims = claims
    this.#byToken = isBearer
    this.awaits = awaits
    this.identity = identity ?? anonymous(id)
  }

  /** When what proves the identity was issued, ms since the epoch; undefined where it does not say. */
  get issuedAt (): number | undefined {
    return this.#claims ? issueOf(this.#claims) ?? 0 : this.identity.issuedAt
  }

  /** Whom `authorize` is asked about. */
  asking (claims = this.#claims): Asking {
    return { hub: this.#context.hub, request: this.#request, claims }
  }

  /** What the client has been judged by holds from here on. */
  begin (holder: Holder, allowed: Allowed): void {
    const { expiresAt } = this.identity
    if (typeof expiresAt === 'number') this.#hold(holder).identityEnds(expiresAt)
    for (const [name, grant] of allowed ?? []) this.allow(holder, name, grant)
  }

  /** Nothing is kept of a grant that says nothing. */
  allow (holder: Holder, name: string, grant: Grant): void {
    if (this.#holding || grant.expiresAt !== undefined || grant.info !== undefined) {
      this.#hold(holder).hold(name, grant)
    }
  }

  #hold (holder: Holder): Holding {
    this.#holding ??= this.#context.grants.holding(holder)
    return this.#holding
  }

  expires (name: string): number | undefined { return this.#holding?.expires(name) }
  /** ms until the first end of what allows it. */
  get firstEnd (): number | undefined { return this.#holding?.firstEnd }
  grant (name: string): Grant | undefined { return this.#holding?.grant(name) }
  end (): void { this.#holding?.end() }

  // --- a token that comes later ------------------------------------------------------

  /**
   * The claims of a token that must be this client's. Somebody whom only a token could name is nobody's until `open`.
   * @throws TokenInvalid, Expired, Revoked
   */
  check (token: string): MaybePromise<Claims> {
    return andThen(this.#context.grants.verify(token, this.#request), (claims) => {
      if (claims.sub !== this.identity.id || this.identity.anonymous === true) {
        throw new TokenInvalid('belongs to another user than this connection')
      }
      return claims
    })
  }

  /** What the client brings with `open`, where it brought nothing before. */
  open (token: string | undefined): MaybePromise<Claims | undefined> {
    if (token === undefined) return undefined
    return this.awaits === 'identity' ? this.#context.grants.verify(token, this.#request) : this.check(token)
  }

  /**
   * The client bears these from here on. Who is known by something that does not end needs no token to stay.
   * @throws Revoked: it may have been signed out everywhere meanwhile
   */
  bear (holder: Holder, claims: Claims | undefined): void {
    const bearer = this.#context.grants.identityOf(undefined, claims)
    if (this.awaits === 'identity') this.#byToken = true
    this.awaits = 'nothing'
    if (!bearer) return
    this.#claims = claims
    const ends = this.#byToken || this.identity.expiresAt !== undefined
    if (this.#byToken) this.identity = bearer
    if (ends) this.#hold(holder).identityEnds(bearer.expiresAt)
  }

  /** Asks about all of these topics. @throws what a refusal of one throws */
  judgeAll (topics: readonly TopicAt[]): MaybePromise<Allowed> {
    return authorizeAll(this.asking(), topics)
  }
}
