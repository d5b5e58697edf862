/** What is known of a way to a server for as long as the tab is open: in sessionStorage, where there is one. */

const PREFIX = 'fastify-realtime:'
const memory = new Map<string, string>()

interface Storage {
  getItem (key: string): string | null
  setItem (key: string, value: string): void
  removeItem (key: string): void
}

/** It may be forbidden (a sandboxed frame), or full: then it is kept here. */
function trying<T> (run: (storage: Storage | undefined) => T): T | undefined {
  try {
    return run((globalThis as { sessionStorage?: Storage }).sessionStorage)
  } catch {
    return undefined
  }
}

export function recall (key: string): string | undefined {
  return memory.get(key) ?? trying((storage) => storage?.getItem(PREFIX + key)) ?? undefined
}

export function remember (key: string, value: string): void {
  memory.set(key, value)
  trying((storage) => storage?.setItem(PREFIX + key, value))
}

export function forget (key: string): void {
  memory.delete(key)
  trying((storage) => storage?.removeItem(PREFIX + key))
}
