/** Finds, checks and makes tokens. */
import sjson from 'secure-json-parse'
import { statusAsked, type Patience } from '../../core/callbacks.ts'
import { andThen, isThenable, type MaybePromise } from '../../core/maybe-promise.ts'
import { Expired, TokenInvalid } from '../../errors.ts'
import { readClaims, type Claims } from './claims.ts'
import { makeSigner, type Signer } from './jwt.ts'
import type { TokenSettings } from './token-options.ts'

/** The parts of a request that may have a token. */
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

  /** Undefined if only others make tokens. */
  get signer (): Signer | undefined { return this.#signer }

  /** The token of a request. @throws TokenInvalid */
  find ({ headers: { authorization }, query }: Bringing): string | undefined {
    const borne = authorization === undefined ? undefined : /^bearer(?: +|$)(.*)$/i.exec(authorization)?.[1]
    if (borne !== undefined) return borne.trimEnd()
    const named = this.settings.query ? (query as { token?: unknown } | null | undefined)?.token : undefined
    if (named === undefined || typeof named === 'string') return named
    throw new TokenInvalid('is given more than once in the query')
  }

  /** @throws TokenInvalid, Expired, and what the app's `verify` throws with a status of 500 or more */
  verify (token: string, request: unknown): MaybePromise<Claims> {
    const { maxBytes } = this.settings
    // Threat: the sender is not checked yet, so a token that is too large is not even parsed.
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
      // The error does not say why, because that would help to forge tokens.
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

/**
 * Copies what the app's `verify` returned, as JSON. It may have any shape, and later readers must not meet getters or
 * poisoned keys.
 */
function copied (claims: unknown): unknown {
  try {
    return sjson.parse(JSON.stringify(claims), { protoAction: 'error', constructorAction: 'error' })
  } catch {
    throw new TokenInvalid('has no claims')
  }
}

/**
 * An error with a status of 500 or more means that the token could not be checked now; any other that it is not valid.
 */
function refuse (error: unknown): never {
  if ((statusAsked(error) ?? 0) >= 500) throw error
  throw new TokenInvalid('is not valid')
}
