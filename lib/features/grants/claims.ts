/** Checks the claims of a token (RFC 7519 §4.1), whoever made it. */
import sjson from 'secure-json-parse'
import { identityId } from '../../core/identity.ts'

export interface Rights {
  readonly subscribe?: readonly string[]
  readonly publish?: readonly string[]
  readonly info?: unknown
}

export interface Claims {
  readonly sub: string
  /** s since the epoch. */
  readonly exp: number
  /** s since the epoch. */
  readonly iat?: number
  /** s since the epoch. */
  readonly nbf?: number
  readonly realtime?: Rights
}

export interface Times {
  /** Now, ms since the epoch. */
  readonly now: number
  /** How much the clocks of the signers may differ, ms. */
  readonly tolerance: number
  /** The longest that a token may live, ms. */
  readonly maxLifetime: number
}

/** Checked claims, or what is wrong with them. */
export type Read = { readonly claims: Claims } | { readonly fault: string, readonly expired?: true }

const SECOND_MS = 1000

export function readClaims (value: unknown, times: Times): Read {
  const fault = shapeFault(value)
  if (fault !== undefined) return { fault }
  const claims = value as Claims
  if (claims.exp * SECOND_MS + times.tolerance <= times.now) return { fault: 'has expired', expired: true }
  const late = timeFault(claims, times)
  return late === undefined ? { claims } : { fault: late }
}

function shapeFault (value: unknown): string | undefined {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return 'has no claims'
  if (isPoisoned(value)) return 'has a forbidden key (__proto__ or constructor)'
  const { sub, exp, iat, nbf, realtime } = value as { [K in keyof Claims]: unknown }
  // Not a number: RFC 7519 says that `sub` is text.
  if (typeof sub !== 'string' || identityId(sub) === undefined) return 'needs a "sub" that is a non-empty string'
  if (!isMoment(exp)) return 'needs an "exp" in seconds since the epoch'
  if (iat !== undefined && !isMoment(iat)) return 'has an "iat" that is not seconds since the epoch'
  if (nbf !== undefined && !isMoment(nbf)) return 'has an "nbf" that is not seconds since the epoch'
  return realtime === undefined ? undefined : rightsFault(realtime)
}

// Threat: if the app merges claims, such a key would reach the prototype of all objects.
function isPoisoned (value: object): boolean {
  try {
    sjson.scan(value, { protoAction: 'error', constructorAction: 'error' })
    return false
  } catch {
    return true
  }
}

function rightsFault (value: unknown): string | undefined {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return 'needs an object as "realtime"'
  const { subscribe, publish } = value as Rights
  return isNames(subscribe) && isNames(publish) ? undefined : 'has topics that are not an array of strings'
}

function isNames (value: unknown): boolean {
  return value === undefined || (Array.isArray(value) && value.every((one) => typeof one === 'string'))
}

function isMoment (value: unknown): value is number {
  return typeof value === 'number' && Number.isFinite(value) && value >= 0
}

function timeFault ({ exp, iat, nbf }: Claims, { now, tolerance, maxLifetime }: Times): string | undefined {
  const latest = (now + tolerance) / SECOND_MS
  if (nbf !== undefined && nbf > latest) return 'is not valid yet'
  // Threat: a token from the future would outlive every revocation.
  if (iat !== undefined && iat > latest) return 'was issued in the future'
  const issued = iat === undefined ? now : iat * SECOND_MS
  return exp * SECOND_MS - issued > maxLifetime + tolerance ? 'lives for longer than maxLifetime' : undefined
}

/** When the token ends, ms since the epoch. */
export function endOf ({ exp }: Claims): number {
  return exp * SECOND_MS
}

/** When the token was issued, ms since the epoch. Undefined if it does not say. */
export function issueOf ({ iat }: Claims): number | undefined {
  return iat === undefined ? undefined : Math.round(iat * SECOND_MS)
}
