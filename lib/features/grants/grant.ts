/** Checks the answer of `authorize`. Everything that does not allow refuses. */
import { unknownIn, whyUnknown } from '../../known.ts'
import { printable } from '../../core/event-name.ts'
import { GrantInvalid } from '../../errors.ts'
import { endOf, type Claims } from './claims.ts'
import { readExpiry, type Clock } from './expiry.ts'

/** What allows a client to use a topic. */
export interface Grant {
  /** ms since the epoch. */
  readonly expiresAt?: number
  /** What the server says of the client. */
  readonly info?: unknown
}

/** Allowed until the connection ends. */
export const UNLIMITED: Grant = Object.freeze({})

const KNOWN: ReadonlySet<string> = new Set(['allow', 'expiresAt', 'info'])

/**
 * Allows for `true`, or for an object with its own member `allow: true`. Undefined for anything else.
 * @throws GrantInvalid if the answer allows but has unknown members; ExpiryInvalid, Expired
 */
export function readAnswer (answer: unknown, of: string, clock: Clock): Grant | undefined {
  if (answer === true) return UNLIMITED
  if (typeof answer !== 'object' || answer === null || !allows(answer)) return undefined
  const unknown = unknownIn(answer, KNOWN)
  // Threat: with a misspelt "expireAt" the grant would never end.
  if (unknown !== undefined) throw new GrantInvalid(of, `"${printable(unknown)}" ${whyUnknown(unknown, KNOWN)}`)
  const { expiresAt, info } = answer as { expiresAt?: unknown, info?: unknown }
  const until = readExpiry(expiresAt, of, clock)
  if (until === undefined && info === undefined) return UNLIMITED
  return { ...(until !== undefined && { expiresAt: until }), ...(info !== undefined && { info }) }
}

function allows (answer: object): boolean {
  return !Array.isArray(answer) && Object.hasOwn(answer, 'allow') && (answer as { allow?: unknown }).allow === true
}

/** The same grant, ending no later than the claims that it depends on. */
export function endingBy (grant: Grant | undefined, claims: Claims | undefined): Grant | undefined {
  if (!grant || !claims) return grant
  const end = endOf(claims)
  return (grant.expiresAt ?? Infinity) <= end ? grant : { ...grant, expiresAt: end }
}
