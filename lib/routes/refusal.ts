/** What is logged of a client that is refused. */
import { quiet, toError, type AppLog } from '../core/callbacks.ts'
import { CallbackTimeout } from '../errors.ts'

/** One line for a refusal: that a callback never settles is the app's fault, all else the client's, or the hour's. */
export function logRefusal (log: AppLog, thrown: unknown, message: string): void {
  const error = toError(thrown)
  quiet(log)[error instanceof CallbackTimeout ? 'warn' : 'info']({ err: error }, message)
}
