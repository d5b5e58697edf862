/** Who may do what, and until when: the feature, as routes and the app use it. */
import type { Deadlines } from '../../core/deadlines.ts'
import type { Feature } from '../../core/hub.ts'
import type { Identity } from '../../core/identity.ts'
import { andThen, type MaybePromise } from '../../core/maybe-promise.ts'
import type { Observer } from '../../core/observe.ts'
import { Revoked, TokenInvalid } from '../../errors.ts'
import { endOf, issueOf, type Claims } from './claims.ts'
import { readExpiry, readMoment } from './expiry.ts'
import { Holding, type Holder, type HoldingHost } from './holding.ts'
import { Revocation, type RevocationHost, type RevocationSettings } from './revocation.ts'
import type { Bringing, Tokens } from './tokens.ts'

export interface GrantsHost extends RevocationHost {
  readonly observe: Observer
}

export interface GrantsSettings {
  /** How long an expired right still holds, ms. */
  readonly grace: number
  readonly revocation: RevocationSettings
}

export class Grants implements HoldingHost, Feature {
  readonly deadlines: Deadlines
  readonly grace: number
  /** Undefined if this server does not accept tokens. */
  readonly tokens: Tokens | undefined
  readonly revocation: Revocation
  readonly #host: GrantsHost

  constructor (host: GrantsHost, { grace, revocation }: GrantsSettings, tokens: Tokens | undefined) {
    this.#host = host
    this.deadlines = host.deadlines
    this.grace = grace
    this.tokens = tokens
    this.revocation = new Revocation(host, revocation)
  }

  async start (): Promise<void> {
    await this.revocation.start()
  }

  resync (): void {
    this.revocation.resync()
  }

  holding (holder: Holder): Holding {
    return new Holding(this, holder)
  }

  expired (): void {
    this.#host.observe.counts.expired++
  }

  // --- who it is -------------------------------------------------------------------

  /**
   * The claims of the request's token, if it has one and tokens are accepted. @throws TokenInvalid, Expired, Revoked
   */
  brought (request: Bringing): MaybePromise<Claims | undefined> {
    const token = this.tokens?.find(request)
    return token === undefined ? undefined : this.verify(token, request)
  }

  /** @throws TokenInvalid, Expired, Revoked */
  verify (token: string, request: unknown): MaybePromise<Claims> {
    if (!this.tokens) throw new TokenInvalid('cannot be verified: this server does not accept tokens')
    return andThen(this.tokens.verify(token, request), (claims) => {
      this.#mustHold('the token', claims.sub, issueOf(claims))
      return claims
    })
  }

  /**
   * The client's identity: that of `identify`, or else of its token. A client with a token is never anonymous.
   * @throws TokenInvalid if the token belongs to another user; ExpiryInvalid, Expired, Revoked
   */
  identityOf (identity: Identity | undefined, claims: Claims | undefined): Identity | undefined {
    const named = this.#checked(identity)
    if (!claims) return named
    this.#mustHold('the token', claims.sub, issueOf(claims))
    if (!named || named.anonymous === true) return bearerOf(claims)
    if (named.id !== claims.sub) throw new TokenInvalid('belongs to another user')
    return named
  }

  /** The identity that `identify` returned, with its times checked. */
  #checked (identity: Identity | undefined): Identity | undefined {
    if (!identity) return undefined
    const { id, expiresAt } = identity
    readExpiry(expiresAt, 'the identity', this.deadlines)
    const issuedAt = readMoment(identity.issuedAt, 'the identity', 'issuedAt')
    // An identity without a time of issue (a session) is not revoked here. The app ends it.
    if (issuedAt !== undefined) this.#mustHold('the login', id, issuedAt)
    return identity
  }

  #mustHold (what: string, identity: string, issuedAt: number | undefined): void {
    if (this.revocation.identities.refuses(identity, issuedAt)) throw new Revoked(what)
  }
}

/** The identity of a token's bearer, who is never anonymous. Rights are not part of an identity. */
function bearerOf (claims: Claims): Identity {
  const { realtime, anonymous, ...own } = claims as Claims & { anonymous?: unknown }
  const issuedAt = issueOf(claims)
  return { ...own, id: claims.sub, expiresAt: endOf(claims), ...(issuedAt !== undefined && { issuedAt }) }
}
