/**
 * Copies an error of the driver: its message and code, and nothing else.
 *
 * Threat: ioredis attaches the command to its errors (`command: { name: 'auth', args: ['the password'] }`), and nests
 * others (`previousErrors`, `lastNodeError`, `cause`). A server that does not know AUTH repeats its arguments. All of
 * this would get into the app's log.
 */

/** An error of the driver, without its secrets. */
export class RedisError extends Error {
  override readonly name = 'RedisError'
  /** The code of a system error, such as `ECONNREFUSED`. */
  declare readonly code?: string

  constructor (message: string, code: string | undefined) {
    super(message)
    if (code !== undefined) this.code = code
  }
}

export type Clean = (thrown: unknown) => Error

const MAX_MESSAGE = 500
const MAX_DEPTH = 3
/** Shorter passwords are not removed, because they would be found everywhere. */
const LEAST_SECRET = 3
const ECHO = /(with args beginning with:).*$/s

/** Makes a cleaner for the errors of a client. It removes all of the client's passwords. */
export function cleanerOf (client: { readonly options: object }): Clean {
  const known = new WeakMap<object, Error>()
  return (thrown) => {
    if (thrown instanceof RedisError) return thrown
    if (typeof thrown !== 'object' || thrown === null) return made(thrown, client)
    let error = known.get(thrown)
    if (!error) known.set(thrown, error = made(thrown, client))
    return error
  }
}

function made (thrown: unknown, client: { readonly options: object }): Error {
  const { code } = (thrown ?? {}) as { code?: unknown }
  const message = without(secretsOf(client), wordsOf(thrown).replace(ECHO, '$1 …'))
  return new RedisError(message.slice(0, MAX_MESSAGE), typeof code === 'string' ? code : undefined)
}

/** Adds the nested message, because some errors only say that others occurred. */
function wordsOf (thrown: unknown, depth = 0): string {
  const { message, lastNodeError, errors } = (thrown ?? {}) as {
    message?: unknown, lastNodeError?: unknown, errors?: unknown
  }
  const own = typeof message === 'string' ? message : 'Redis failed'
  const beneath: unknown = lastNodeError ?? (Array.isArray(errors) ? errors[0] : undefined)
  return beneath === undefined || depth === MAX_DEPTH
    ? own
    : [own, wordsOf(beneath, depth + 1)].filter((text) => text !== '').join(' ')
}

function without (secrets: readonly string[], text: string): string {
  return secrets.reduce((rest, secret) => rest.replaceAll(secret, '…'), text)
}

/** The passwords of a client: its own, those for sentinels and nodes, and those of a cluster's startup nodes. */
function secretsOf (client: { readonly options: object }): string[] {
  const { password, sentinelPassword, redisOptions } = client.options as Record<string, unknown>
  const nodes = Reflect.get(client, 'startupNodes') as unknown
  const all = [
    password, sentinelPassword, passwordIn(redisOptions), ...(Array.isArray(nodes) ? nodes.map(passwordIn) : [])
  ]
  return all.filter((one) => typeof one === 'string').filter(({ length }) => length >= LEAST_SECRET)
    .flatMap((secret) => [secret, orUnchanged(encodeURIComponent, secret)])
}

function passwordIn (node: unknown): unknown {
  if (typeof node === 'string') {
    return URL.canParse(node) ? orUnchanged(decodeURIComponent, new URL(node).password) : undefined
  }
  return (node as { password?: unknown } | undefined)?.password
}

/** A malformed escape cannot be decoded, and a lone surrogate cannot be encoded. */
function orUnchanged (change: (text: string) => string, text: string): string {
  try {
    return change(text)
  } catch {
    return text
  }
}
