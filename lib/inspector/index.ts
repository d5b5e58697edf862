/** `fastify-realtime/inspector`: a page that shows what an app's topics and clients do, and breaks them on purpose. */
import type { FastifyInstance, FastifyPluginAsync, FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { OptionInvalid } from '../errors.ts'
import { insightOf, type Insight } from '../insight.ts'
import type { Hosts } from '../routes/hosts.ts'
import type { Connection } from '../types/connection.ts'
import { readAssets, readPage, type Asset } from './assets.ts'
import { messagesOf } from './commands.ts'
import { describeFor } from './description.ts'
import { onlyHosts, onlyLoopback, refuseForeign, warnIfReached } from './guard.ts'
import { ACTS, ANSWERS, ASKS, Nodes } from './nodes.ts'
import { readInspectorOptions, type InspectorOptions, type InspectorSettings } from './options.ts'
import { OwnNode, type Asker } from './own-node.ts'
import type { Said, Want, Wish } from './said.ts'
import { Stalls } from './stalls.ts'
import { tail } from './tail.ts'
import { Watch } from './watch.ts'

const PREFIX = '/realtime/inspector'
/** What an answer has besides its rows. */
const SPARE_BYTES = 512
const MESSAGE_BYTES = 1 << 20
const HIDDEN: Record<string, unknown> = { hide: true }
/** Where the app sets no policy of its own. */
const POLICY = "default-src 'self'; object-src 'none'; base-uri 'self'; frame-ancestors 'none'"

const inUse = new WeakSet<object>()

/**
 * A page at `/realtime/inspector`. Without an `onRequest` of yours it answers programs on the same machine alone.
 * @throws FST_ERR_REALTIME_OPTION_INVALID
 */
const plugin: FastifyPluginAsync<InspectorOptions> = async (app, options) => {
  const settings = readInspectorOptions(options)
  const insight = insightOf(app.realtime)
  if (!insight) throw new OptionInvalid('inspector', 'is of another copy of fastify-realtime than the app\'s plugin')
  if (inUse.has(app.realtime)) throw new OptionInvalid('inspector', 'is registered already: once is enough for an app')
  inUse.add(app.realtime)
  guard(app, settings, insight.hosts)
  const inspector = new Inspector(app, insight, settings)
  const base = options.prefix === undefined ? PREFIX : ''
  insight.apart(() => inspector.declare(base))
  servePage(app, base)
  app.addHook('onReady', async () => await inspector.start())
  app.addHook('preClose', async () => inspector.stop())
}

/** Who is let in, to the page and to all below it. */
function guard (app: FastifyInstance, { onRequest, hosts }: InspectorSettings, appHosts: Hosts): void {
  const own = onRequest.length > 0
  const names = onlyHosts(hosts ?? (own ? appHosts : '*'))
  for (const hook of [refuseForeign, names, ...own ? onRequest : [onlyLoopback]]) app.addHook('onRequest', hook)
  if (!own) warnIfReached(app)
}

class Inspector {
  readonly #app: FastifyInstance
  readonly #insight: Insight
  readonly #settings: InspectorSettings
  readonly #watch: Watch
  readonly #nodes: Nodes
  readonly #own: OwnNode
  readonly #stalls: Stalls
  /** The pages that are connected here, by the ids of their connections: channels, and streams of topics. */
  readonly #pages = new Set<string>()

  constructor (app: FastifyInstance, insight: Insight, settings: InspectorSettings) {
    const { realtime, log } = app
    this.#app = app
    this.#insight = insight
    this.#settings = settings
    this.#watch = new Watch(realtime)
    this.#stalls = new Stalls(insight, settings.stallTimeout)
    const bounds = { maxRows: settings.maxRows, maxBytes: Math.max(0, insight.maxEventBytes - SPARE_BYTES) }
    this.#own = new OwnNode(realtime, insight, bounds, {
      reasons: () => this.#watch.reasons, isOwn: (id) => this.#pages.has(id)
    })
    this.#nodes = new Nodes(realtime, insight, settings, { log, answer: (wish, of) => this.#answer(wish, of) })
  }

  declare (base: string): void {
    const { realtime } = this.#app
    for (const pattern of [ASKS, ANSWERS]) this.#app.topic(pattern, { history: false })
    // Who is not let in reaches no route that offers it.
    const acts = this.#app.topic(ACTS, { history: false, authorize: 'anyone' })
    // By which hosts they may be reached is decided already, by the hooks above.
    this.#app.channel(`${base}/live`, {
      subscribe: acts,
      origins: [],
      hosts: '*',
      limits: { messageBytes: MESSAGE_BYTES },
      messages: messagesOf({
        realtime,
        insight: this.#insight,
        nodes: this.#nodes,
        describe: () => describeFor(realtime, this.#insight, this.#settings.jsonSchema),
        tell: (acted) => { acts.publish({}, 'acted', acted).catch((error: unknown) => this.#untold(error)) }
      }),
      ...this.#counting
    })
    this.#app.stream(`${base}/tail`, {
      source: (request, { signal }) => tail(realtime, (request.query as { topic?: unknown }).topic, signal),
      hosts: '*',
      schema: HIDDEN,
      ...this.#counting
    })
  }

  async start (): Promise<void> { await this.#nodes.start() }

  stop (): void {
    this.#nodes.stop()
    this.#watch.end()
    this.#stalls.end()
  }

  get #counting () {
    return {
      onConnect: ({ id }: Connection) => {
        this.#pages.add(id)
        this.#watch.came()
      },
      onDisconnect: ({ id }: Connection) => {
        this.#pages.delete(id)
        this.#watch.left()
      }
    }
  }

  #untold (error: unknown): void {
    this.#app.log.warn({ err: error }, 'realtime inspector: other pages were not told')
  }

  #answer (wish: Wish, of: Asker): Said[Want] {
    switch (wish.want) {
      case 'node':
        if (of === 'node') this.#watch.asked()
        return this.#own.view()
      case 'topics': return this.#own.topics(wish.find, of)
      case 'connections': return this.#own.connections(wish.find, wish.mark, of)
      case 'act': return { done: wish.node === this.#insight.node && this.#act(wish) }
    }
  }

  #act ({ act, connection }: Wish & { want: 'act' }): boolean {
    switch (act) {
      case 'drop': return this.#insight.drop(connection)
      case 'expire': return this.#insight.expire(connection)
      case 'stall': return this.#stalls.stall(connection)
      case 'release': return this.#stalls.release(connection)
      case 'restart':
        // Behind the answer: the page that has asked is among them.
        setImmediate(() => this.#insight.restart())
        return true
    }
  }
}

function servePage (app: FastifyInstance, base: string): void {
  const options = { schema: HIDDEN }
  const page = async (request: FastifyRequest, reply: FastifyReply): Promise<void> =>
    await send(reply, { type: 'text/html; charset=utf-8', body: readPage(linksFrom(request)) })
  // Below a prefix, "/" is the prefix itself too.
  app.get(base === '' ? '/' : base, options, page)
  const other = `${base}/`
  if (base !== '' && !app.hasRoute({ method: 'GET', url: app.prefix + other })) app.get(other, options, page)
  for (const [path, asset] of readAssets()) {
    app.get(`${base}/${path}`, options, async (_request, reply) => await send(reply, asset))
  }
}

/** The page's links start below its own URL, with and without a slash at its end, whatever a proxy puts before it. */
function linksFrom ({ url }: FastifyRequest): string {
  const [path = ''] = url.split('?')
  // Threat: below a prefix with params, the last part of the URL is whatever a link says.
  const last = (path.split('/').pop() ?? '').replace(/[^\w.~%-]/g, encodeURIComponent)
  return path.endsWith('/') ? './' : `./${last}/`
}

async function send (reply: FastifyReply, { type, body }: Asset): Promise<void> {
  if (!reply.hasHeader('content-security-policy')) reply.header('content-security-policy', POLICY)
  return await reply.headers({
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
    'x-frame-options': 'DENY',
    'referrer-policy': 'no-referrer'
  }).type(type).send(body)
}

const inspector: FastifyPluginAsync<InspectorOptions> = fp(plugin, {
  fastify: '5.x', name: 'fastify-realtime/inspector', dependencies: ['fastify-realtime'], encapsulate: true
})

export default inspector
export { inspector }
export type { InspectorOptions } from './options.ts'
