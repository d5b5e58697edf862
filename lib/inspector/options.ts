/** The options of the inspector, their defaults and their checks. */
import type { FastifyReply, FastifyRequest, HookHandlerDoneFunction } from 'fastify'
import type { ToJsonSchema } from '../asyncapi/json-schemas.ts'
import { OptionInvalid } from '../errors.ts'
import { onlyKnown, record } from '../known.ts'
import { readHosts } from '../options.ts'
import type { Hosts } from '../routes/hosts.ts'

/** Fastify's own `onRequest`: it calls `done`, or is async and takes no `done`. */
export type OnRequest = (request: FastifyRequest, reply: FastifyReply, done: HookHandlerDoneFunction) => unknown

export interface InspectorOptions {
  /** Where the page is, below the prefixes of its scope. Default `/realtime/inspector`. */
  prefix?: string
  /**
   * Who may see it: `onRequest` hooks of your own. Then only they decide. Default: none, and only programs on the same
   * machine that use a loopback name (`localhost`, `127.0.0.1`, `[::1]`) are let in. Pages of other sites are always
   * refused, by their `Origin` and `Sec-Fetch-Site`.
   *
   * A hook that checks only addresses does not keep out DNS rebinding: a site points its own name at this server, and
   * its page has the server's origin and its visitor's address. `hosts` refuses it, and so does a hook that checks a
   * cookie or a token.
   */
  onRequest?: OnRequest | OnRequest[]
  /**
   * Hosts by which the inspector may be reached, e.g. `['admin.example', 'localhost:3000']`, or `'*'`. Requests for
   * another host get 404, before `onRequest` is called. Default: the plugin's `hosts`; without an `onRequest` of yours
   * `'*'`, because only loopback names are let in then.
   */
  hosts?: string[] | '*'
  /** Makes JSON schema of other schemas, to show them and to make forms of them: `z.toJSONSchema` for zod. */
  jsonSchema?: ToJsonSchema
  /** ms that other nodes may take to answer. After that they are shown as silent. Default 1000; 50 to 30000. */
  answerTimeout?: number
  /** Nodes that are shown. Default 64; 1 to 1000. The page says if there are more. */
  maxNodes?: number
  /**
   * Topics or connections of one node that are shown at a time. Default 200; 1 to 2000. An answer is also cut if it
   * would be larger than `maxEventBytes`. The page says so; a search finds the others.
   */
  maxRows?: number
  /** ms after which a stalled client is released. Default 300000; 1000 to 3600000. */
  stallTimeout?: number
}

export interface InspectorSettings {
  /** Empty: only loopback is let in. */
  readonly onRequest: readonly OnRequest[]
  readonly hosts: Hosts | undefined
  readonly jsonSchema: ToJsonSchema | undefined
  readonly answerTimeout: number
  readonly maxNodes: number
  readonly maxRows: number
  readonly stallTimeout: number
}

const KNOWN: ReadonlySet<string> = new Set([
  'prefix', 'onRequest', 'hosts', 'jsonSchema', 'answerTimeout', 'maxNodes', 'maxRows', 'stallTimeout',
  // What Fastify's register takes for itself.
  'logLevel', 'logSerializers'
] satisfies Array<keyof InspectorOptions | 'logLevel' | 'logSerializers'>)

/** @throws OptionInvalid */
export function readInspectorOptions (options: InspectorOptions): InspectorSettings {
  record('inspector', options)
  onlyKnown('', options, KNOWN)
  const { prefix, onRequest = [], jsonSchema } = options
  if (prefix !== undefined && (typeof prefix !== 'string' || !prefix.startsWith('/') || prefix === '/')) {
    throw new OptionInvalid('prefix', 'must begin with "/", and be more than that')
  }
  const hooks = [onRequest].flat()
  if (onRequest === null || !hooks.every((hook) => typeof hook === 'function')) {
    throw new OptionInvalid('onRequest', 'must be a function, or an array of functions')
  }
  if (jsonSchema !== undefined && typeof jsonSchema !== 'function') {
    throw new OptionInvalid('jsonSchema', 'must be a function')
  }
  return Object.freeze({
    onRequest: hooks,
    hosts: options.hosts === undefined ? undefined : readHosts(options.hosts),
    jsonSchema,
    answerTimeout: whole('answerTimeout', options.answerTimeout ?? 1000, 50, 30_000),
    maxNodes: whole('maxNodes', options.maxNodes ?? 64, 1, 1000),
    maxRows: whole('maxRows', options.maxRows ?? 200, 1, 2000),
    stallTimeout: whole('stallTimeout', options.stallTimeout ?? 300_000, 1000, 3_600_000)
  })
}

function whole (name: string, value: unknown, min: number, max: number): number {
  if (typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max) return value
  throw new OptionInvalid(name, `must be a whole number from ${min} to ${max}, not ${String(value)}`)
}
