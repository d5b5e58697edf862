/** Who a client is. */

/**
 * Who a client is. Declare your own fields by merging:
 * `declare module 'fastify-realtime' { interface RealtimeIdentity { name: string } }`.
 */
export interface RealtimeIdentity {
  /** Unique for the person or machine behind the connection. At most 4096 characters. */
  id: string
  /** True if `identify` returned null or undefined. `id` is then unique to the connection. */
  anonymous?: boolean
  /**
   * When the identity expires, ms since the epoch. `expiryGrace` later its connections are closed with 4401 `expired`.
   * When the client comes back, the hooks decide anew. Default: never.
   */
  expiresAt?: number
  /**
   * When the login or token was issued, ms since the epoch. `realtime.disconnect(…, { revoke: true })` refuses what
   * was issued before.
   */
  issuedAt?: number
}

/**
 * What `identify` may return: a {@link RealtimeIdentity} whose `id` may be a number or a bigint too. These become
 * strings.
 */
export type IdentityInput = Omit<RealtimeIdentity, 'id'> & { id: string | number | bigint }
