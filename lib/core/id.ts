/** Ids: those of events, which have an order for whoever starts a read, and those that nobody can guess. */
import { randomFillSync } from 'node:crypto'

// --- of events -----------------------------------------------------------------------
// Used only to choose where a read starts: ids are compared for equality everywhere else. An id is
// `<ms>-<seq>.<nonce>`.

const SHAPE = /^(\d{1,16})-(\d{1,10})\.[\x21-\x7e]+$/

/** Negative when `a` is older than `b`; undefined when either has no order. */
export function compareIds (a: string, b: string): number | undefined {
  const left = idParts(a)
  const right = idParts(b)
  if (!left || !right) return undefined
  return (left.ms - right.ms) || (left.seq - right.seq)
}

export function hasOrder (id: string): boolean {
  return SHAPE.test(id)
}

/** The `<ms>` and `<seq>` of an id. */
export function idParts (id: string): { ms: number, seq: number } | undefined {
  const match = SHAPE.exec(id)
  return match ? { ms: Number(match[1]), seq: Number(match[2]) } : undefined
}

/** A genesis stands before a topic's first event: its time is 0. */
export function isGenesis (id: string): boolean {
  return idParts(id)?.ms === 0
}

// --- at random -----------------------------------------------------------------------

const RANDOM_BYTES = 9
/** Asking for random bytes costs much, whatever their number. */
const pool = Buffer.alloc(RANDOM_BYTES * 256)
let unused = 0

/** 72 random bits, as 12 characters of base64url. */
export function randomId (): string {
  if (unused === 0) {
    randomFillSync(pool)
    unused = pool.length
  }
  unused -= RANDOM_BYTES
  return pool.toString('base64url', unused, unused + RANDOM_BYTES)
}
