/** What a client's token says. */

/** What a token allows, besides saying who its bearer is. */
export interface TokenRights {
  /**
   * Topics that the bearer may hear: full names, or the text of a declared pattern, which stands for all of its topics.
   * Nothing else is understood: no prefixes, and no `*` of your own.
   */
  subscribe?: readonly string[]
  /** Topics that the bearer may relay events into, named in the same way. */
  publish?: readonly string[]
  /** What the server says of the bearer. You read it as `connection.grant(topic).info`. */
  info?: unknown
}

/**
 * The claims of a token (RFC 7519 §4.1), after they were checked. Declare your own by merging:
 * `declare module 'fastify-realtime' { interface RealtimeClaims { role: string } }`.
 */
export interface RealtimeClaims {
  /** Who the bearer is: the identity's `id`. */
  sub: string
  /** When the token expires, seconds since the epoch. */
  exp: number
  /** When it was issued, seconds since the epoch. */
  iat?: number
  /** When it becomes valid, seconds since the epoch. */
  nbf?: number
  /** Who issued it. */
  iss?: string
  /** For whom it was issued. */
  aud?: string | string[]
  /** The token's own id. It is not checked. */
  jti?: string
  /** What the token allows here. */
  realtime?: TokenRights
}
