/** Tokens that clients bring: found, checked, and made. */
import sjson from 'secure-json-parse'
import { statusAsked, type Patience } from '../../core/callbacks.ts'
import { andThen, isThenable, type MaybePromise } from '../../core/maybe-promise.ts'
import { Expired, TokenInvalid } from '../../errors.ts'
import { readClaims, type Claims } from './claims.ts'
import { makeSigner, type Signer } from './jwt.ts'
import type { TokenSettings } from './token-options.ts'

/** A request, as far as it brings a token. */
export interface Bringing {
  readonly headers: { readonly authorization?: string | undefined }
  readonly query: unknown
}

export class Tokens {
  readonly settings: TokenSettings
  readonly #patience: Patience
  readonly #signer: Signer | undefined

  private constructor (settings: TokenSettings, patience: Patience, signer: Signer | undefined) {
    this.settings = settings
    this.#patience = patience
    this.#signer = signer
  }

  static async of (settings: TokenSettings, patience: Patience): Promise<Tokens> {
    return new Tokens(settings, patience, settings.keys && await makeSigner(settings, settings.keys))
  }

  /** Where there is none, tokens are made by others alone. */
  get signer (): Signer | undefined { return this.#signer }

  /** The token that a request brings. @throws TokenInvalid */
  find ({ headers: { authorization }, query }: Bringing): string | undefined {
    const borne = authorization === undefined ? undefined : /^bearer(?: +|$)(.*)$/i.exec(authorization)?.[1]
    if (borne !== undefined) return borne.trimEnd()
    const named = this.settings.query ? (query as { token?: unknown } | null | undefined)?.token : undefined
    if (named === undefined || typeof named === 'string') return named
    throw new TokenInvalid('is given more than once in the query')
  }

  /** @throws TokenInvalid, Expired, and what the app's `verify` throws with a status of 500 and more */
  verify (token: string, request: unknown): MaybePromise<Claims> {
    const { maxBytes } = this.settings
    // Threat: whoever sends it has not been asked anything yet. Nothing is made of what is too large.
    if (token.length > maxBytes) throw new TokenInvalid(`is larger than tokens.maxBytes (${maxBytes})`)
    return andThen(this.#claimsOf(token, request), (claims) => this.#checked(claims))
  }

  #claimsOf (token: string, request: unknown): MaybePromise<unknown> {
    const { verify } = this.settings
    if (!verify) return this.#own(token)
    try {
      const claims = this.#patience.call<unknown>('"tokens.verify"', () => verify(token, request))
      return isThenable(claims) ? Promise.resolve(claims).then(copied, refuse) : copied(claims)
    } catch (error) {
      return refuse(error)
    }
  }

  #own (token: string): unknown {
    try {
      return this.#signer?.verify(token)
    } catch (error) {
      if ((error as { code?: unknown }).code === 'FAST_JWT_EXPIRED') throw new Expired('the token')
      // Not why: whoever tries to make one is told nothing.
      throw new TokenInvalid('is not valid')
    }
  }

  #checked (value: unknown): Claims {
    const { clockTolerance: tolerance, maxLifetime } = this.settings
    const read = readClaims(value, { now: Date.now(), tolerance, maxLifetime })
    if ('claims' in read) return read.claims
    throw read.expired ? new Expired('the token') : new TokenInvalid(read.fault)
  }
}

/** What the app's `verify` gave, as JSON: it may be of any shape, and whoever reads it later must find no traps. */
function copied (claims: unknown): unknown {
  try {
    return sjson.parse(JSON.stringify(claims), { protoAction: 'error', constructorAction: 'error' })
  } catch {
    throw new TokenInvalid('has no claims')
  }
}

/** An error of 500 and more says that it could not be checked now; any other that it does not hold. */
function refuse (error: unknown): never {
  if ((statusAsked(error) ?? 0) >= 500) throw error
  throw new TokenInvalid('is not valid')
}
