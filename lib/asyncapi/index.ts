/** `fastify-realtime/asyncapi`: an AsyncAPI 3 document of an app's topics, streams and channels. */
import type { FastifyInstance, FastifyPluginAsync, RouteShorthandOptions } from 'fastify'
import fp from 'fastify-plugin'
import { OptionInvalid } from '../errors.ts'
import { isRecord, onlyKnown } from '../known.ts'
import { documentOf } from './document.ts'
import { JsonSchemas, type ToJsonSchema } from './json-schemas.ts'

/** Options of `asyncapi()`. An unknown or wrong one is FST_ERR_REALTIME_OPTION_INVALID. */
export interface AsyncApiOptions {
  /** The Info Object of the document. Default: the title `fastify-realtime`, the version `0.0.0`. */
  info?: { title: string, version: string, [field: string]: unknown }
  /** Servers Objects of AsyncAPI 3, by name. Default: none. */
  servers?: Record<string, { host: string, protocol: string, [field: string]: unknown }>
  /** Turns schemas of another kind into JSON schema: for zod `z.toJSONSchema`. Default: all must be JSON schema. */
  jsonSchema?: ToJsonSchema
}

/** Options of the plugin that serves the document. */
export interface AsyncApiRouteOptions extends AsyncApiOptions {
  /** The URL of the document. Default `/asyncapi.json`. */
  url?: string
  /** Options of its route, for example hooks that say who may read it. Default: everybody may. */
  route?: Omit<RouteShorthandOptions, 'schema'>
}

const KNOWN: ReadonlySet<string> = new Set(['info', 'servers', 'jsonSchema'] satisfies Array<keyof AsyncApiOptions>)
const OF_ROUTE: ReadonlySet<string> = new Set([...KNOWN, 'url', 'route'])
/** Keeps the route out of the app's own OpenAPI document. */
const HIDDEN: Record<string, unknown> = { hide: true }
const INFO = { title: 'fastify-realtime', version: '0.0.0' }

/**
 * Returns the document as a plain object. It contains what is declared by then, so call it once the app is ready.
 * @throws FST_ERR_REALTIME_OPTION_INVALID, also if a schema is not JSON schema and there is no `jsonSchema`
 */
export function asyncapi (app: FastifyInstance, options: AsyncApiOptions = {}): Record<string, unknown> {
  checkOptions(options, KNOWN)
  return documentOf({
    info: options.info ?? INFO,
    servers: options.servers,
    description: app.realtime.describe(),
    schemas: new JsonSchemas(options.jsonSchema),
    shared: app.getSchemas()
  })
}

/** Serves the document. Everybody who reaches the app may read it, unless a hook in `route` says otherwise. */
const plugin: FastifyPluginAsync<AsyncApiRouteOptions> = async (app, options) => {
  checkOptions(options, OF_ROUTE)
  const { url = '/asyncapi.json', route = {}, ...rest } = options
  if (typeof url !== 'string' || !url.startsWith('/')) throw new OptionInvalid('url', 'must begin with "/"')
  if (!isRecord(route)) throw new OptionInvalid('route', 'must be an object')
  let document: string | undefined
  app.get(url, { ...route, schema: HIDDEN }, async (_request, reply) => {
    return await reply.type('application/json').send(document)
  })
  // A schema that it cannot contain fails the start of the app.
  app.addHook('onReady', async () => { document = JSON.stringify(asyncapi(app, rest)) })
}

function checkOptions (options: AsyncApiRouteOptions, known: ReadonlySet<string>): void {
  if (!isRecord(options)) throw new OptionInvalid('asyncapi', 'must be an object')
  onlyKnown('', options, known)
  const { info, servers, jsonSchema } = options
  if (info !== undefined && !(isRecord(info) && isText(info.title) && isText(info.version))) {
    throw new OptionInvalid('info', 'must have a title and a version')
  }
  if (servers !== undefined && !isRecord(servers)) throw new OptionInvalid('servers', 'must be an object')
  if (jsonSchema !== undefined && typeof jsonSchema !== 'function') {
    throw new OptionInvalid('jsonSchema', 'must be a function')
  }
}

function isText (value: unknown): boolean { return typeof value === 'string' && value !== '' }

const asyncapiRoute: FastifyPluginAsync<AsyncApiRouteOptions> = fp(plugin, {
  fastify: '5.x', name: 'fastify-realtime/asyncapi', dependencies: ['fastify-realtime']
})

export default asyncapiRoute
export { asyncapiRoute }
export type { ToJsonSchema } from './json-schemas.ts'
