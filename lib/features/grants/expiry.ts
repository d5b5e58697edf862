/** When something ends, as the app says it. */
import { printable } from '../../core/event-name.ts'
import { Expired, ExpiryInvalid } from '../../errors.ts'

/** A wall clock. */
export interface Clock {
  /** Is this moment (ms since the epoch) over? */
  isOver (wall: number): boolean
}

/** Fewer ms than this are the year 1973: they are seconds. */
const LEAST = 100_000_000_000
/** The last moment that a Date can tell (ECMA-262 §21.4.1.1). */
const LAST = 8_640_000_000_000_000

/**
 * A moment in ms since the epoch; undefined where none is given.
 * @throws ExpiryInvalid, or Expired where it is over
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
