/** Checks the times that the app gives. */
import { printable } from '../../core/event-name.ts'
import { Expired, ExpiryInvalid } from '../../errors.ts'

/** A wall clock. */
export interface Clock {
  /** True if this moment (ms since the epoch) is over. */
  isOver (wall: number): boolean
}

/** As ms this is the year 1973. A smaller number is probably seconds. */
const LEAST = 100_000_000_000
/** The last moment of a Date (ECMA-262 §21.4.1.1). */
const LAST = 8_640_000_000_000_000

/**
 * A moment in ms since the epoch. Undefined if none is given.
 * @throws ExpiryInvalid, or Expired if it is over
 */
export function readExpiry (value: unknown, of: string, clock: Clock): number | undefined {
  const moment = readMoment(value, of, 'expiresAt')
  if (moment !== undefined && clock.isOver(moment)) throw new Expired(of)
  return moment
}

/** @throws ExpiryInvalid */
export function readMoment (value: unknown, of: string, name: string): number | undefined {
  if (value === undefined || value === null) return undefined
  if (typeof value !== 'number' || !(value >= 0 && value <= LAST)) {
    throw new ExpiryInvalid(of, name, typeof value === 'number' ? String(value) : shown(value))
  }
  if (value < LEAST) throw new ExpiryInvalid(of, name, `${value} looks like seconds, or is long past`)
  return value
}

function shown (value: unknown): string {
  return typeof value === 'string' ? `"${printable(value)}"` : `a value of type ${typeof value}`
}
