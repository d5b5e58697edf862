/** Ids that nobody can guess. */
import { randomFillSync } from 'node:crypto'

const RANDOM_BYTES = 9
/** Asking for random bytes costs much, whatever their number. */
const pool = Buffer.alloc(RANDOM_BYTES * 256)
let unused = 0

/** 72 random bits. */
export function randomId (): string {
  if (unused === 0) {
    randomFillSync(pool)
    unused = pool.length
  }
  unused -= RANDOM_BYTES
  return pool.toString('base64url', unused, unused + RANDOM_BYTES)
}
