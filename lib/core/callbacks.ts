/**
 * The border to the app's code. A callback may throw anything (`null`, a string, a frozen object, an error whose
 * getters throw), and its promise may never settle. Here every failure becomes an Error, within a time limit.
 */
import { types } from 'node:util'
import { CallbackTimeout } from '../errors.ts'
import { isThenable, type MaybePromise } from './maybe-promise.ts'

const STATUS_MIN = 400
const STATUS_MAX = 599
/** What a refusal, a logger and Fastify's error handler read of an error. */
const READ = ['name', 'message', 'stack', 'code', 'statusCode', 'status', 'headers', 'validation'] as const
/** How many errors within an error are checked. */
const MAX_NESTED = 64

type Facts = { readonly [K in typeof READ[number]]?: unknown }

/** The part of the app's logger that is used here. */
export interface AppLog {
  error (details: object, message: string): void
  warn (details: object, message: string): void
  info (details: object, message: string): void
  debug (details: object, message: string): void
}

// --- calling -------------------------------------------------------------------

/** Calls app code. Whatever it throws or rejects with becomes an Error. */
export function call<T> (code: () => T | PromiseLike<T>): MaybePromise<T> {
  try {
    const value = code()
    return isThenable(value) ? Promise.resolve(value).catch(rethrow) : value
  } catch (thrown) {
    throw toError(thrown)
  }
}

/** Calls app code whose failure must end nothing else: the failure is only logged. */
export function callApart (log: AppLog, failed: string, code: () => unknown, level: 'error' | 'debug' = 'error'): void {
  const tell = (error: unknown): void => quiet(log)[level]({ err: error }, failed)
  try {
    const value = call(code)
    if (value instanceof Promise) value.catch(tell)
  } catch (error) {
    tell(error)
  }
}

function rethrow (thrown: unknown): never {
  throw toError(thrown)
}

// --- waiting ---------------------------------------------------------------------

type GiveUp = (error: Error) => void

/** How long clients wait for the app and the adapter: so many ms, and no longer than the app is open. */
export class Patience {
  readonly #ms: number
  readonly #waits = new Set<GiveUp>()
  #over: (() => Error) | undefined

  constructor (ms: number) {
    this.#ms = ms
  }

  /** As `call`, but gives up a promise that does not settle in time. @throws CallbackTimeout, which has the name */
  call<T> (name: string, code: () => T | PromiseLike<T>): MaybePromise<T> {
    try {
      const value = code()
      return isThenable(value) ? this.wait(Promise.resolve(value), () => new CallbackTimeout(name, this.#ms)) : value
    } catch (thrown) {
      throw toError(thrown)
    }
  }

  /** Rejects with `late()` if the work is not over in time. */
  wait<T> (work: PromiseLike<T>, late: () => Error): Promise<T> {
    return within(this.#over ? 0 : this.#ms, work, this.#over ?? late, this.#waits)
  }

  /** Rejects all present and later waits with this error, at once. */
  end (why: () => Error): void {
    this.#over = why
    for (const giveUp of this.#waits) giveUp(why())
  }
}

/**
 * Rejects with `late()` if the work takes longer than `ms`; what the work does after that is ignored. If the work
 * rejects, this rejects with the reason as an Error. While this waits, `waits` holds a function that ends the wait
 * early.
 */
export function within<T> (ms: number, work: PromiseLike<T>, late: () => Error, waits?: Set<GiveUp>): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    let timer: NodeJS.Timeout | undefined
    let over = false
    const giveUp = (error: Error): void => {
      end()
      reject(error)
    }
    const end = (): void => {
      over = true
      clearTimeout(timer)
      waits?.delete(giveUp)
    }
    work.then((value) => {
      end()
      resolve(value)
    }, (thrown: unknown) => {
      end()
      reject(toError(thrown))
    })
    // Work that is settled already needs no timer.
    queueMicrotask(() => {
      if (over) return
      timer = setTimeout(() => giveUp(late()), ms)
      waits?.add(giveUp)
    })
  })
}

/** Resolves when the work has succeeded or failed, or has taken so many ms. */
export async function overWithin (ms: number, work: PromiseLike<unknown>): Promise<void> {
  await within(ms, work, () => new Error('late')).catch(() => {})
}

// --- telling -------------------------------------------------------------------

/**
 * The app's logger, for logging what the app threw. If the logger fails, the line is lost, and nothing else happens.
 */
export function quiet (log: AppLog): AppLog {
  return new QuietLog(log)
}

class QuietLog implements AppLog {
  readonly #log: AppLog

  constructor (log: AppLog) {
    this.#log = log
  }

  error (details: object, message: string): void { say(this.#log, 'error', details, message) }
  warn (details: object, message: string): void { say(this.#log, 'warn', details, message) }
  info (details: object, message: string): void { say(this.#log, 'info', details, message) }
  debug (details: object, message: string): void { say(this.#log, 'debug', details, message) }
}

function say (log: AppLog, level: keyof AppLog, details: object, message: string): void {
  const { err } = details as { err?: unknown }
  const fails = 'err' in details
  try {
    log[level](fails ? { ...details, err: toError(err) } : details, message)
  } catch {
    // A log serializer of the app may throw over the error's properties. It should not throw over a new error with the
    // same text.
    try {
      log[level](fails ? { err: remake(err) } : {}, message)
    } catch {}
  }
}

// --- what was thrown -------------------------------------------------------------

/**
 * Makes an Error of whatever was thrown: one that can be read, logged and sent. An ordinary Error is returned as it is.
 * Any other value becomes a new Error with the same message, name, code, and status if that is one of 400 to 599. Never
 * throws.
 */
export function toError (thrown: unknown): Error {
  return isOrdinary(thrown) ? thrown : remake(thrown)
}

/** The HTTP status that an error asks for; 500 if it asks for none of 400 to 599. Never throws. */
export function statusOf (error: unknown): number {
  return statusIn(factsOf(error)) ?? 500
}

/** The status (400 to 599) of the thrown value; undefined if it has none. Never throws. */
export function statusAsked (thrown: unknown): number | undefined {
  return statusIn(factsOf(thrown))
}

/** An error that can be logged and sent as it is. */
function isOrdinary (thrown: unknown): thrown is Error {
  try {
    if (!(thrown instanceof Error)) return false
    const { statusCode, status } = thrown as Facts
    return isStatus(statusCode ?? status ?? 500) && isReadable(thrown, new Set())
  } catch {
    return false
  }
}

/**
 * True when the error can be extended (a logger marks it), and reading it throws nothing. The same must hold for every
 * error within it.
 */
function isReadable (error: object, seen: Set<object>): boolean {
  if (seen.has(error)) return true
  if (seen.size === MAX_NESTED || types.isProxy(error) || !Object.isExtensible(error)) return false
  seen.add(error)
  for (const key of READ) Reflect.get(error, key)
  const { message, cause, errors } = error as { message?: unknown, cause?: unknown, errors?: unknown }
  const within: unknown[] = [
    typeof cause === 'function' ? cause.call(error) : cause, ...Array.isArray(errors) ? errors : []
  ]
  // A logger reads every enumerable property, inherited ones too.
  for (const key in error) within.push(Reflect.get(error, key))
  return typeof message === 'string' && within.every((value) => !isErrorLike(value) || isReadable(value, seen))
}

function isErrorLike (value: unknown): value is object {
  return typeof value === 'object' && value !== null && typeof (value as Facts).message === 'string'
}

function isStatus (value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= STATUS_MIN && (value as number) <= STATUS_MAX
}

function statusIn ({ statusCode, status }: Facts): number | undefined {
  return [statusCode, status].find(isStatus)
}

function remake (thrown: unknown): Error {
  const facts = factsOf(thrown)
  const error: Error & { code?: string, statusCode?: number } = new Error(messageOf(thrown, facts))
  if (typeof facts.name === 'string' && typeof thrown === 'object') error.name = facts.name
  if (typeof facts.stack === 'string') error.stack = facts.stack
  if (typeof facts.code === 'string') error.code = facts.code
  const status = statusIn(facts)
  if (status !== undefined) error.statusCode = status
  return error
}

function messageOf (thrown: unknown, { message }: Facts): string {
  if (typeof message === 'string') return message
  if (typeof thrown === 'string') return thrown
  return `the app's code threw ${nameOf(thrown)}, which is not an Error`
}

function nameOf (thrown: unknown): string {
  if (thrown === null) return 'null'
  return typeof thrown === 'object' ? 'an object' : typeof thrown === 'function' ? 'a function' : printed(thrown)
}

function printed (thrown: unknown): string {
  return String(thrown).slice(0, 200)
}

/** The properties that can be read. Those whose getter throws, and all of a revoked proxy, are left out. */
function factsOf (thrown: unknown): Facts {
  if ((typeof thrown !== 'object' && typeof thrown !== 'function') || thrown === null) return {}
  const facts: Record<string, unknown> = {}
  for (const key of READ) {
    try {
      facts[key] = (thrown as Record<string, unknown>)[key]
    } catch {}
  }
  return facts
}
