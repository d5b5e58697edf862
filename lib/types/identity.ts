/** Who a client is. */

/**
 * Who a client is. Declare your own fields by merging:
 * `declare module 'fastify-realtime' { interface RealtimeIdentity { name: string } }`.
 */
export interface RealtimeIdentity {
  /** Unique for the person or machine behind the connection. */
  id: string
  /** True if `identify` returned null or undefined. `id` is then unique to the connection. */
  anonymous?: boolean
  /**
   * When the identity expires, ms since the epoch. Its connections are then closed with 4401 `expired`, and the hooks
   * decide when the client comes back. Default: never.
   */
  expiresAt?: number
  /**
   * When the login or token was issued, ms since the epoch. `realtime.disconnect(…, { revoke: true })` refuses those
   * that were issued before.
   */
  issuedAt?: number
}

/**
 * What `identify` may give: a {@link RealtimeIdentity} whose id may be a number or a bigint too, of which it is the
 * text.
 */
export type IdentityInput = Omit<RealtimeIdentity, 'id'> & { id: string | number | bigint }
