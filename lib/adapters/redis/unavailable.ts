/** Turns every error on the way to Redis into `Unavailable`. */
import { Unavailable } from '../../errors.ts'

export function unavailable (error: unknown): Error {
  if (error instanceof Unavailable) return error
  return new Unavailable(error instanceof Error ? error.message : String(error))
}

/** @throws Unavailable */
export async function orUnavailable<T> (work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    throw unavailable(error)
  }
}
