/** What the client remembers of a server during a session: in sessionStorage, or in memory if there is none. */

const PREFIX = 'fastify-realtime:'
const memory = new Map<string, string>()

interface Storage {
  getItem (key: string): string | null
  setItem (key: string, value: string): void
  removeItem (key: string): void
}

const own: Storage = {
  getItem: (key) => memory.get(key) ?? null,
  setItem: (key, value) => { memory.set(key, value) },
  removeItem: (key) => { memory.delete(key) }
}

/** sessionStorage may be forbidden (in a sandboxed frame), or full. */
function stored<T> (run: (storage: Storage) => T): T {
  try {
    return run((globalThis as { sessionStorage?: Storage }).sessionStorage ?? own)
  } catch {
    return run(own)
  }
}

export const recall = (key: string): string | null => stored((storage) => storage.getItem(PREFIX + key))
export const remember = (key: string, value: string): void => stored((storage) => storage.setItem(PREFIX + key, value))
export const forget = (key: string): void => stored((storage) => storage.removeItem(PREFIX + key))
