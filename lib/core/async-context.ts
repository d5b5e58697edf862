/** Async context (AsyncLocalStorage): in whose name the app's code runs. */
import { AsyncResource } from 'node:async_hooks'

const NAME = 'fastify-realtime'
/** Nobody needs to know when a resource ends. Without a destructor it costs 80 bytes, and nothing else. */
const OPTIONS = { requireManualDestroy: true } as const

/** Made when the plugin is loaded, before any request. */
const nobody = new AsyncResource(NAME, OPTIONS)

/** The context of the one who asks, for what the app does in its name later. */
export function keepContext (): AsyncResource {
  return new AsyncResource(NAME, OPTIONS)
}

// Threat: what is made once and shared by many would run in the context of the client that came first, and could show
// one tenant's data to another.
/**
 * Runs code in no request's context: for what many share, and for timers that outlive the request that started them.
 */
export function inNobodysName<T> (code: () => T): T {
  return nobody.runInAsyncScope(code)
}
