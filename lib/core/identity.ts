/** The identity of a client, as the app gives it. The id is always text, so that orders and comparisons find it. */
import { IdentityInvalid } from '../errors.ts'

export interface Identity {
  id: string
  anonymous?: boolean
  /** When the proof of the identity expires, ms since the epoch. */
  expiresAt?: number
  /** When the proof of the identity was issued, ms since the epoch. */
  issuedAt?: number
}

/** The longest id that an order to another node may name. */
const MAX_ID = 4096

/** The text of an id: a non-empty string, a number, a bigint. Undefined for anything else. */
export function identityId (value: unknown): string | undefined {
  if (typeof value === 'string') return value !== '' && value.length <= MAX_ID ? value : undefined
  if (typeof value === 'bigint') return String(value)
  // Threat: beyond the safe integers two numbers become one, and two people would have one identity.
  return typeof value === 'number' && Number.isFinite(value) &&
    (Number.isSafeInteger(value) || !Number.isInteger(value))
    ? String(value)
    : undefined
}

/** Reads what `identify` returned; undefined for nobody. @throws IdentityInvalid */
export function readIdentity (given: unknown): Identity | undefined {
  if (given === undefined || given === null) return undefined
  const value: unknown = typeof given === 'object' ? (given as { id?: unknown }).id : undefined
  const id = identityId(value)
  if (id === undefined) {
    throw new IdentityInvalid(typeof given === 'object' ? `its id is ${nameOf(value)}` : `it is ${nameOf(given)}`)
  }
  return value === id ? given as Identity : renamed(given, id)
}

/** A copy with another id: its class and its other members stay. */
function renamed (given: object, id: string): Identity {
  return Object.create(Object.getPrototypeOf(given) as object | null, {
    ...Object.getOwnPropertyDescriptors(given),
    id: { value: id, enumerable: true, writable: true, configurable: true }
  }) as Identity
}

function nameOf (value: unknown): string {
  if (value === '') return 'an empty string'
  if (typeof value === 'string') return `a string of ${value.length} characters`
  return typeof value === 'number' ? String(value) : value === null ? 'null' : `of type ${typeof value}`
}
