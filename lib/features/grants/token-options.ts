/** The `tokens` option: every default and check. */
import { OptionInvalid } from '../../errors.ts'
import { onlyKnown, record } from '../../known.ts'

export interface TokenSettings {
  /** Secrets by their `kid`. Undefined if the app verifies tokens itself. */
  readonly keys: ReadonlyMap<string, Buffer> | undefined
  /** The `kid` of the key that signs. Undefined if the only key has no name. */
  readonly kid: string | undefined
  readonly verify: ((token: string, request: unknown) => unknown) | undefined
  readonly issuer: readonly string[] | undefined
  readonly audience: readonly string[] | undefined
  /** ms */
  readonly clockTolerance: number
  /** ms */
  readonly maxLifetime: number
  readonly maxBytes: number
  readonly query: boolean
}

const KNOWN: ReadonlySet<string> = new Set([
  'secret', 'keys', 'kid', 'verify', 'issuer', 'audience', 'clockTolerance', 'maxLifetime', 'maxBytes', 'query'
] satisfies Array<keyof TokenSettings | 'secret'>)
/** Stands for the name of a key without a name. */
export const NAMELESS = ''
/** RFC 7518 §3.2: at least the size of the hash. */
const MIN_SECRET_BYTES = 32
const MAX_KEYS = 64
const DAY_MS = 86_400_000

/** @throws OptionInvalid */
export function readTokens (value: unknown): TokenSettings {
  record('tokens', value)
  onlyKnown('tokens', value, KNOWN)
  const { secret, keys, kid, verify, issuer, audience, clockTolerance, maxLifetime, maxBytes, query } =
    value as Record<string, unknown>
  const ways = [secret, keys, verify].filter((one) => one !== undefined)
  if (ways.length !== 1) throw new OptionInvalid('tokens', 'needs exactly one of "secret", "keys" and "verify"')
  if (verify !== undefined && typeof verify !== 'function') {
    throw new OptionInvalid('tokens.verify', 'must be a function')
  }
  const read = keys === undefined ? undefined : readKeys(keys)
  return Object.freeze({
    keys: secret === undefined ? read : new Map([[NAMELESS, readSecret('tokens.secret', secret)]]),
    kid: readKid(kid, read),
    verify: verify as TokenSettings['verify'],
    issuer: readNames('tokens.issuer', issuer, verify),
    audience: readNames('tokens.audience', audience, verify),
    clockTolerance: whole('tokens.clockTolerance', clockTolerance ?? 5000, 0, 300_000),
    maxLifetime: whole('tokens.maxLifetime', maxLifetime ?? DAY_MS, 1000, 366 * DAY_MS),
    maxBytes: whole('tokens.maxBytes', maxBytes ?? 8192, 64, 65_536),
    query: readFlag('tokens.query', query ?? false)
  })
}

function readKeys (value: unknown): ReadonlyMap<string, Buffer> {
  record('tokens.keys', value)
  const keys = Object.entries(value).map(([kid, secret]) => [kid, readSecret(`tokens.keys.${kid}`, secret)] as const)
  if (keys.length === 0 || keys.length > MAX_KEYS) {
    throw new OptionInvalid('tokens.keys', `must be an object of 1 to ${MAX_KEYS} secrets by their kid`)
  }
  if (keys.some(([kid]) => kid === NAMELESS)) throw new OptionInvalid('tokens.keys', 'has a key without a name')
  return new Map(keys)
}

// Threat: with one token, an attacker can find a short secret by trying.
function readSecret (name: string, value: unknown): Buffer {
  if (typeof value !== 'string' && !(value instanceof Uint8Array)) {
    throw new OptionInvalid(name, 'must be a string or bytes')
  }
  const bytes = Buffer.from(value as string)
  if (bytes.byteLength < MIN_SECRET_BYTES) {
    throw new OptionInvalid(name,
      `has ${bytes.byteLength} bytes: HS256 needs at least ${MIN_SECRET_BYTES} random bytes (RFC 7518, section 3.2)`)
  }
  // Threat: with a public key as the secret, everybody who knows that key could sign.
  if (/^\s*-----BEGIN /.test(bytes.toString('latin1'))) {
    throw new OptionInvalid(name, 'is a PEM key, but HS256 needs a secret. For such keys use "verify"')
  }
  return bytes
}

/** The first of several keys is never the default: objects reorder members whose names look like numbers. */
function readKid (kid: unknown, keys: ReadonlyMap<string, Buffer> | undefined): string | undefined {
  if (kid === undefined && (!keys || keys.size === 1)) return keys && [...keys.keys()][0]
  if (typeof kid !== 'string' || !keys?.has(kid)) {
    throw new OptionInvalid('tokens.kid', 'must name the one of "keys" that signs')
  }
  return kid
}

function readNames (name: string, value: unknown, verify: unknown): readonly string[] | undefined {
  if (value === undefined) return undefined
  if (verify !== undefined) throw new OptionInvalid(name, 'cannot be used with "verify": check it there')
  const names: unknown[] = [value].flat()
  if (names.length === 0 || !names.every((one) => typeof one === 'string' && one !== '')) {
    throw new OptionInvalid(name, 'must be a non-empty string, or an array of them')
  }
  return Object.freeze(names as string[])
}

function whole (name: string, value: unknown, min: number, max: number): number {
  if (!Number.isInteger(value) || (value as number) < min || (value as number) > max) {
    throw new OptionInvalid(name, `must be a whole number from ${min} to ${max}, not ${String(value)}`)
  }
  return value as number
}

function readFlag (name: string, value: unknown): boolean {
  if (typeof value === 'boolean') return value
  throw new OptionInvalid(name, 'must be true or false')
}
