/** Ids of events, which have an order, and random ids, which nobody can guess. */
import { randomFillSync } from 'node:crypto'

// --- ids of events -------------------------------------------------------------------
// The order of ids decides what is read from the store, why a cursor was not found, and which event of a key is newer.
// Everywhere else ids are compared only for equality. An id is `<ms>-<seq>.<nonce>`.

const SHAPE = /^(\d{1,16})-(\d{1,10})\.[\x21-\x7e]+$/

/** Negative if `a` is older than `b`; undefined if either has no order. */
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

/** True for a genesis id, which stands before a topic's first event: its time is 0. */
export function isGenesis (id: string): boolean {
  return idParts(id)?.ms === 0
}

// --- random ids ----------------------------------------------------------------------

const RANDOM_BYTES = 9
/** Many random bytes are fetched at once: a call for them costs much, whatever their number. */
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
