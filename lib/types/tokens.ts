/** Tokens: how they are checked, and how they are made. */
import type { FastifyRequest } from 'fastify'
import type { RealtimeClaims } from './claims.ts'
import type { AnyTopic, AnyTopicRef } from './topic.ts'

interface TokenLimits {
  /**
   * How long a token may live, from `iat` to `exp`, ms, 1000 to 31622400000. Default 86400000. A token that lives
   * longer is refused.
   */
  maxLifetime?: number
  /** How much the clocks of signers may differ, ms, 0 to 300000. Default 5000. */
  clockTolerance?: number
  /** Bytes of a token, 64 to 65536. Default 8192. A larger token is refused. */
  maxBytes?: number
  /**
   * Accepts a token in the query too, as `?token=`, for an EventSource that has no cookie. URLs are logged, and an
   * EventSource reconnects with the same URL, so make such tokens short-lived. Default false.
   */
  query?: boolean
}

interface KeptSecrets extends TokenLimits {
  /** The `iss` that is accepted, or several. `sign()` uses the first. Default: any, or none. */
  issuer?: string | readonly string[]
  /** The `aud` that is accepted, or several. `sign()` uses the first. Default: any, or none. */
  audience?: string | readonly string[]
  verify?: never
}

/** Tokens by HS256 with one secret. */
export interface OneSecret extends KeptSecrets {
  /** The secret: at least 32 random bytes (RFC 7518 §3.2). */
  secret: string | Uint8Array
  keys?: never
  kid?: never
}

/** Tokens by HS256 with several secrets, so that you can change them without an interruption. */
export interface ManySecrets extends KeptSecrets {
  /** Secrets by their `kid` (RFC 7515 §4.1.4), at most 64. Add a new one before you remove the old one. */
  keys: Record<string, string | Uint8Array>
  /** Which of `keys` signs. Required if there are several. */
  kid?: string
  secret?: never
}

/** Tokens that your own function verifies. */
export interface OwnVerify extends TokenLimits {
  /**
   * Verifies a token, including its signature, and returns its claims: `app.jwt.verify`, or a JWKS with jose. If it
   * throws, the token is refused (401). If the error has a `statusCode` of 500 or more, the token could not be verified
   * just now, and the client tries again. Afterwards `exp`, `nbf`, `iat` and `maxLifetime` are checked too.
   */
  verify: (token: string, request: FastifyRequest) => object | Promise<object>
  secret?: never
  keys?: never
  kid?: never
  issuer?: never
  audience?: never
}

/** The plugin's option `tokens`. */
export type TokensOptions = OneSecret | ManySecrets | OwnVerify

/** What a token names: a Topic (all of its pattern), `topic.at(…)`, a full name, or the text of a pattern. */
export type TokenTopic = AnyTopic | AnyTopicRef | string

/** The app's own claims, as it has declared them by merging. */
export type OwnClaims = {
  [K in keyof RealtimeClaims as K extends 'sub' | 'exp' | 'iat' | 'nbf' | 'iss' | 'aud' | 'realtime' ? never : K]?:
  RealtimeClaims[K]
}

/** What `realtime.sign()` takes. */
export interface SignOptions {
  /** Whose token it is: the identity's `id`. */
  sub: string | number | bigint
  /** Topics that the bearer may hear, if their `authorize` is `'token'`. */
  subscribe?: TokenTopic | readonly TokenTopic[]
  /** Topics that the bearer may relay events into. */
  publish?: TokenTopic | readonly TokenTopic[]
  /** What the server says of the bearer, as JSON. You read it as `connection.grant(topic).info`. */
  info?: unknown
  /** How long the token is valid, ms, 1000 to `tokens.maxLifetime`. Rounded down to seconds. Default 3600000. */
  expiresIn?: number
  /** More claims, as JSON, which `authorize` can read. */
  claims?: OwnClaims & Record<string, unknown>
}
