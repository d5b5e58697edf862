/** What is logged of a client that is refused. */
import { quiet, toError, type AppLog } from '../core/callbacks.ts'
import { CallbackTimeout } from '../errors.ts'

/** Logs one line for a refusal, as a warning only where a callback never settles: that alone is the app's fault. */
export function logRefusal (log: AppLog, thrown: unknown, message: string): void {
  const error = toError(thrown)
  quiet(log)[error instanceof CallbackTimeout ? 'warn' : 'info']({ err: error }, message)
}
