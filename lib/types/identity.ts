/** Who a client is. */

/**
 * Who a client is. Declare your own fields by merging:
 * `declare module 'fastify-realtime' { interface RealtimeIdentity { name: string } }`.
 */
export interface RealtimeIdentity {
  /** Unique for the person or machine behind the connection. */
  id: string
  /** True when `identify` named nobody; `id` is then unique to the connection. */
  anonymous?: boolean
  /**
   * When what proves it ends, ms since the epoch: the connection ends then, with 4401 `expired`, and is judged anew.
   * Default: it stays for as long as the connection does.
   */
  expiresAt?: number
  /**
   * When what proves it was issued, ms since the epoch. `realtime.disconnect(…, { revoke: true })` refuses what was
   * issued before.
   */
  issuedAt?: number
}

/**
 * What `identify` may give: a {@link RealtimeIdentity} whose id may be a number or a bigint too, of which it is the
 * text.
 */
export type IdentityInput = Omit<RealtimeIdentity, 'id'> & { id: string | number | bigint }
