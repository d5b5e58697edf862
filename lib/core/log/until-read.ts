/** Repeats a read for as long as its result is needed: the adapter may be away for a while. */

const RETRY_FIRST_MS = 50
const RETRY_MAX_MS = 500

/** Calls `failed` for each failure. Resolves with undefined once the read is not `wanted` any more. */
export async function untilRead<T> (
  wanted: () => boolean, read: () => Promise<T>, failed: (error: unknown) => void
): Promise<T | undefined> {
  for (let pause = RETRY_FIRST_MS; wanted(); pause = Math.min(pause * 2, RETRY_MAX_MS)) {
    try {
      return await read()
    } catch (error) {
      failed(error)
      await new Promise((resolve) => setTimeout(resolve, pause).unref())
    }
  }
  return undefined
}
