/** Tokens: how they are checked, and how they are made. */
import type { FastifyRequest } from 'fastify'
import type { RealtimeClaims } from './claims.ts'
import type { AnyTopic, AnyTopicRef } from './topic.ts'

interface TokenLimits {
  /** The longest that a token may live, from `iat` to `exp`, ms. Default 86400000; 1000 to 31622400000. */
  maxLifetime?: number
  /** By how much the clocks of those who sign may differ, ms. Default 5000; 0 to 300000. */
  clockTolerance?: number
  /** Bytes of a token. Default 8192; 64 to 65536. */
  maxBytes?: number
  /**
   * Take a token from the query too, as `?token=`, for an EventSource that has no cookie. URLs are logged, and an
   * EventSource comes back with the same one: make such tokens short-lived. Default false.
   */
  query?: boolean
}

interface KeptSecrets extends TokenLimits {
  /** The only `iss` to be taken, or those; the first is what `sign()` says. Default: any, or none. */
  issuer?: string | readonly string[]
  /** The only `aud` to be taken, or those; the first is what `sign()` says. Default: any, or none. */
  audience?: string | readonly string[]
  verify?: never
}

export interface OneSecret extends KeptSecrets {
  /** At least 32 bytes, made at random (RFC 7518 §3.2). */
  secret: string | Uint8Array
  keys?: never
  kid?: never
}

export interface ManySecrets extends KeptSecrets {
  /** By their `kid`, which tokens name: a new one is added before the old one goes. */
  keys: Record<string, string | Uint8Array>
  /** The one that signs. Needed where there are several. */
  kid?: string
  secret?: never
}

export interface OwnVerify extends TokenLimits {
  /**
   * Checks a token, signature and all, and gives its claims: `app.jwt.verify`, or a JWKS by jose. A throw refuses
   * (401), unless it has a status of 500 or more: then it could not be checked now. `exp`, `nbf`, `iat` and
   * `maxLifetime` are checked behind it.
   */
  verify: (token: string, request: FastifyRequest) => object | Promise<object>
  secret?: never
  keys?: never
  kid?: never
  issuer?: never
  audience?: never
}

export type TokensOptions = OneSecret | ManySecrets | OwnVerify

/** What a token may open: a Topic for all of its pattern, `topic.at(…)`, a full name, or the text of a pattern. */
export type TokenTopic = AnyTopic | AnyTopicRef | string

/** Claims of the app's own, as it has declared them by merging. */
export type OwnClaims = {
  [K in keyof RealtimeClaims as K extends 'sub' | 'exp' | 'iat' | 'nbf' | 'iss' | 'aud' | 'realtime' ? never : K]?:
  RealtimeClaims[K]
}

export interface SignOptions {
  /** Whose token it is: the identity's id. */
  sub: string | number | bigint
  /** What its bearer may hear, where `authorize` is `'token'`. */
  subscribe?: TokenTopic | readonly TokenTopic[]
  /** Where its bearer may relay events to. */
  publish?: TokenTopic | readonly TokenTopic[]
  /** What the server says of its bearer; `connection.grant(topic).info`. JSON. */
  info?: unknown
  /** ms. Default 3600000; 1000 to `tokens.maxLifetime`. Rounded down to whole seconds. */
  expiresIn?: number
  /** More claims, for `authorize` to read. JSON. */
  claims?: OwnClaims & Record<string, unknown>
}
