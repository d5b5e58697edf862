/**
 * The border to the app's code. A callback may throw anything (`null`, a string, a frozen object, an error whose getters
 * throw) and its promise may never settle. Whatever comes of it leaves here as an Error, within a time limit.
 */

const STATUS_MIN = 400
const STATUS_MAX = 599
/** What a refusal, a logger and Fastify's error handler read of an error. */
const READ = ['name', 'message', 'stack', 'code', 'statusCode', 'status', 'headers', 'validation'] as const

type Facts = { readonly [K in typeof READ[number]]?: unknown }

/**
 * Whatever was thrown, as an Error that everybody may read, log and send. An ordinary Error is returned as it is. All
 * else becomes a new Error with the same message, name, code and status, and 500 where there is no status of 400 to 599.
 * Never throws.
 */
export function toError (thrown: unknown): Error {
  return isOrdinary(thrown) ? thrown : remake(thrown)
}

/** The HTTP status that an error asks for; 500 where it asks for none of 400 to 599. Never throws. */
export function statusOf (error: unknown): number {
  return statusIn(factsOf(error)) ?? 500
}

/** Rejects with `late()` when the work takes more than so many ms. What becomes of the work then is nobody's concern. */
export async function within<T> (ms: number, work: PromiseLike<T>, late: () => Error): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const over = new Promise<never>((_resolve, reject) => { timer = setTimeout(() => reject(late()), ms) })
  try {
    return await Promise.race([work, over])
  } finally {
    clearTimeout(timer)
  }
}

/** An error that can be logged and sent as it is: it can be added to (a logger marks it), and nothing in it throws. */
function isOrdinary (thrown: unknown): thrown is Error {
  try {
    if (!(thrown instanceof Error) || !Object.isExtensible(thrown)) return false
    const { message, statusCode, status } = thrown as Facts
    // A logger reads every enumerable property, inherited ones too.
    for (const key in thrown) Reflect.get(thrown, key)
    for (const key of READ) Reflect.get(thrown, key)
    return typeof message === 'string' && isStatus(statusCode ?? status ?? 500)
  } catch {
    return false
  }
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
  if (typeof facts.name === 'string') error.name = facts.name
  if (typeof facts.stack === 'string') error.stack = facts.stack
  if (typeof facts.code === 'string') error.code = facts.code
  error.statusCode = statusIn(facts) ?? 500
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

/** What can be read of it. A getter that throws, or a revoked proxy, says nothing. */
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
