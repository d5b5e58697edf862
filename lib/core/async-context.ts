/** Async context (AsyncLocalStorage): the request in whose name app code runs. */
import { AsyncResource } from 'node:async_hooks'

const NAME = 'fastify-realtime'
/** Nobody needs to know when a resource ends. Without a destructor a resource costs 80 bytes, and nothing else. */
const OPTIONS = { requireManualDestroy: true } as const

/** Made when the plugin is loaded, before any request. */
const nobody = new AsyncResource(NAME, OPTIONS)

/** Keeps the caller's context, for app code that runs in its name later. */
export function keepContext (): AsyncResource {
  return new AsyncResource(NAME, OPTIONS)
}

// Threat: work that is done once for many clients would run in the context of the client that came first, and could
// show one tenant's data to another.
/** Runs code in no request's context: for work that many clients share, and for timers that outlive their request. */
export function inNobodysName<T> (code: () => T): T {
  return nobody.runInAsyncScope(code)
}
