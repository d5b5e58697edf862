/** What a client's token says. */

/** What a token allows, besides saying who its bearer is. */
export interface TokenRights {
  /**
   * Topics that its bearer may hear: full names, or the text of a declared pattern, which stands for all of its topics.
   * Nothing else is understood: no prefixes, no `*` of one's own.
   */
  subscribe?: readonly string[]
  /** Topics into which its bearer may relay events. */
  publish?: readonly string[]
  /** What the server says of its bearer; `connection.grant(topic).info`. */
  info?: unknown
}

/**
 * The claims of a token (RFC 7519 §4.1), checked. Declare your own by merging:
 * `declare module 'fastify-realtime' { interface RealtimeClaims { role: string } }`.
 */
export interface RealtimeClaims {
  /** Who its bearer is: the identity's id. */
  sub: string
  /** When it ends, s since the epoch. */
  exp: number
  /** When it was issued, s since the epoch. */
  iat?: number
  /** Not before, s since the epoch. */
  nbf?: number
  iss?: string
  aud?: string | string[]
  jti?: string
  realtime?: TokenRights
}
