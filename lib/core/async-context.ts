/** Async context (AsyncLocalStorage): in whose name the app's code runs. */
import { AsyncResource } from 'node:async_hooks'

const NAME = 'fastify-realtime'
/** Nothing is to hear of its end: without a destructor it costs 80 bytes and nothing else. */
const OPTIONS = { requireManualDestroy: true } as const

/** Made when the plugin is loaded, before any request. */
const nobody = new AsyncResource(NAME, OPTIONS)

/** The context of the one who asks, for what the app does in its name later. */
export function keepContext (): AsyncResource {
  return new AsyncResource(NAME, OPTIONS)
}

// Threat: what is made once for many, in the name of whoever came first, would show one tenant's data to another.
/** For what many share, and for clocks that outlive the request in which they were started. */
export function inNobodysName<T> (code: () => T): T {
  return nobody.runInAsyncScope(code)
}
