/** Builds the settings, the adapter and the hub, and decorates the app. */
import type { FastifyInstance, FastifyPluginAsync } from 'fastify'
import { memory } from './adapters/memory.ts'
import { siblings } from './adapters/siblings.ts'
import { keyedStatesOf, type Retention } from './core/adapter.ts'
import { call, within } from './core/callbacks.ts'
import { eventNameFault, printable } from './core/event-name.ts'
import { Hub } from './core/hub.ts'
import type { Codec } from './core/payload.ts'
import { BegunRuns } from './features/resumable/begun-runs.ts'
import { Presence } from './features/presence/presence.ts'
import { Grants } from './features/grants/grants.ts'
import { readTokens } from './features/grants/token-options.ts'
import { Tokens } from './features/grants/tokens.ts'
import { Runs } from './features/resumable/runs.ts'
import { offerMetering } from './core/metering.ts'
import { offerTracing } from './core/tracing.ts'
import type { Check } from './core/validation.ts'
import { TopicFace, type TopicFaceHost } from './core/topics/face.ts'
import { DeclaredTopic, type Params } from './core/topics/topic.ts'
import type { Compile } from './compilers.ts'
import {
  AlreadyRegistered, AlreadyStarted, EventNameInvalid, KeyedUnsupported, OptionInvalid, Unavailable
} from './errors.ts'
import { Http2Sessions } from './shutdown/http2-sessions.ts'
import {
  callable, readAuthorize, readCoalesce, readHistory, readHosts, readLimits, readLive, readOpen, readOptions,
  readOrigins, readResumable, readRetry, type Settings
} from './options.ts'
import { readKeyed, readPresence, readPresenceMode } from './topic-options.ts'
import { onlyKnown, record } from './known.ts'
import { LazyCodec, Schemas } from './schemas.ts'
import { drain } from './shutdown/drain.ts'
import { registerWebSocket } from './websocket-plugin.ts'
import type { RealtimeOptions } from './types/options.ts'
import type { TopicOptions } from './types/topic.ts'
import { OpenPosts } from './shutdown/open-posts.ts'
import { SilentSockets } from './shutdown/silent-sockets.ts'
import { Arrivals } from './routes/arrivals.ts'
import { Peers } from './routes/peer.ts'
import { RouteCollector, type MadeRoute } from './routes/collector.ts'
import { Declarations } from './routes/declarations.ts'
import type { WireContext } from './routes/context.ts'
import { discloseTo, Insight } from './insight.ts'
import { RealtimeFace } from './realtime.ts'
import { Encoders } from './wires/sse/encode.ts'
import { streamDecorator } from './wires/sse/route.ts'
import { ProcessWire } from './wires/process/process-wire.ts'
import { Upgrades, overhears } from './wires/websocket/dispatch.ts'
import { channelOverHttp } from './wires/http/route.ts'
import { channelDecorator } from './wires/websocket/route.ts'

const TOPIC_OPTIONS: ReadonlySet<string> = new Set([
  'events', 'history', 'authorize', 'snapshot', 'coalesce', 'keyed', 'presence'
] satisfies Array<keyof AnyTopicOptions>)

type AnyTopicOptions = TopicOptions<Params, Record<string, unknown>>

export const plugin: FastifyPluginAsync<RealtimeOptions> = async (fastify, options) => {
  if (fastify.hasDecorator('realtime')) throw new AlreadyRegistered()
  const settings = readOptions(options, fastify.initialConfig.pluginTimeout)
  const hub = new Hub(settings.adapter ?? memory(), { ...settings, log: fastify.log, app: fastify })
  const tokens = settings.tokens === undefined ? undefined : await Tokens.of(readTokens(settings.tokens), hub.patience)
  const app = new App(fastify, settings, hub, tokens)
  // Before anything can go wrong: an app that is closed while its start hangs closes the adapter.
  fastify.addHook('onClose', async () => await call(() => hub.close()))
  await startWithin(fastify.initialConfig.pluginTimeout, hub)
  app.decorate()
  warnOfSiblings(hub)
  if (typeof settings.websocket === 'object') await registerWebSocket(fastify, settings.websocket)
}

/** Every adapter with a `nodes` reaches other processes. */
function warnOfSiblings ({ adapter, log }: Hub): void {
  const why = adapter.nodes ? undefined : siblings()
  if (why === undefined) return
  log.warn({ adapter: adapter.name },
    `realtime: this process seems to be one of several (${why}), but the adapter "${adapter.name}" works only within ` +
    'one process: a client hears only what its own process publishes. Use an adapter that all processes share, ' +
    'e.g. redis() of fastify-realtime/redis, or run one process')
}

/** Before Fastify's own limit, so that the error says what it was that hung. */
const SPARE_MS = 1000

/** What a start that fails has opened is closed again: a process that gives up must be able to end. */
async function startWithin (pluginTimeout = 10_000, hub: Hub): Promise<void> {
  const ms = pluginTimeout - Math.min(SPARE_MS, pluginTimeout / 4)
  const starting = Promise.resolve(call(() => hub.start()))
  const late = (): Unavailable =>
    new Unavailable(`the adapter did not start within ${ms} ms (Fastify's pluginTimeout is ${pluginTimeout})`)
  try {
    await (ms === 0 ? starting : within(ms, starting, late))
  } catch (error) {
    starting.catch(() => {})
    await Promise.resolve(call(() => hub.close())).catch(() => {})
    throw error
  }
}

class App {
  readonly #fastify: FastifyInstance
  readonly #settings: Settings
  readonly #hub: Hub
  readonly #runs: Runs
  readonly #presence: Presence
  readonly #grants: Grants
  readonly #collector = new RouteCollector()
  readonly #declarations = new Declarations()
  readonly #upgrades: Upgrades
  readonly #sessions = new Http2Sessions()
  readonly #silent = new SilentSockets()
  readonly #schemas = new WeakMap<FastifyInstance, Schemas>()
  readonly #checks: Array<() => void> = []
  #ready = false

  constructor (fastify: FastifyInstance, settings: Settings, hub: Hub, tokens: Tokens | undefined) {
    this.#fastify = fastify
    this.#settings = settings
    this.#hub = hub
    this.#runs = new Runs(hub)
    hub.attach(this.#runs)
    this.#presence = new Presence(hub)
    this.#grants = makeGrants(hub, settings, tokens)
    hub.attach(this.#grants)
    this.#upgrades = Upgrades.of(fastify, settings.joinTimeout)
  }

  decorate (): void {
    const fastify = this.#fastify
    const hub = this.#hub
    const context = this.#wireContext()
    const inProcess = new ProcessWire(context)
    const app = this
    const host: TopicFaceHost = {
      publish: (at, event, data, options) => hub.publisher.publish(at, event, data, options),
      remove: async (at, key, options) => await hub.publisher.remove(at, key, options),
      state: async (at, options) => await hub.states.read(at, options),
      presence: async (at, options) => await this.#presence.members(at, options),
      history: async (at, options) => await hub.publisher.history(at, options),
      subscribe: (at, options) => inProcess.subscribe(at, options)
    }
    fastify.addHook('onRoute', (route) => this.#collector.see(route as MadeRoute))
    const face = new RealtimeFace(hub, context, inProcess)
    offerTracing(face, hub.tracing)
    offerMetering(face, hub.observe.metering)
    fastify.decorate('realtime', face)
    discloseTo(face, new Insight(hub, context))
    const decorators = {
      topic: function (this: FastifyInstance, pattern: string, options?: AnyTopicOptions) {
        const topic = app.#topic(this, pattern, options ?? {})
        // Any route may hear it for its client: orders must know when a request came.
        context.arrivals.watch('stream')
        return new TopicFace(topic, host)
      },
      stream: streamDecorator(context, this.#collector, new Encoders()),
      channel: channelDecorator(context, this.#collector, this.#upgrades, channelOverHttp(this.#collector))
    }
    // Their types infer from what they are called with, which nothing that is made here can be shown to do.
    for (const [name, decorator] of Object.entries(decorators)) {
      Reflect.apply(fastify.decorate, fastify, [name, decorator])
    }
    fastify.addHook('onReady', async () => this.#becomeReady())
    fastify.addHook('preClose', async () => await call(() => drain(this.#settings.closeTimeout, {
      hub, upgrades: this.#upgrades, silent: this.#silent, posts: context.posts, sessions: this.#sessions
    })))
    fastify.addHook('onClose', async () => this.#letGo(context))
    this.#sessions.watch(fastify)
    this.#silent.watch(fastify, overhears)
  }

  #becomeReady (): void {
    this.#ready = true
    for (const check of this.#checks) check()
    this.#upgrades.ready(this.#settings.websocket !== false)
  }

  /** The server may outlive the app, and serve another. */
  #letGo ({ arrivals }: WireContext): void {
    arrivals.end()
    this.#upgrades.end()
    this.#silent.end()
  }

  #wireContext (): WireContext {
    const settings = this.#settings
    return {
      hub: this.#hub,
      declarations: this.#declarations,
      runs: this.#runs,
      presence: this.#presence,
      presenceMode: readPresenceMode,
      begun: new BegunRuns(this.#hub, this.#runs),
      grants: this.#grants,
      peers: new Peers(this.#hub),
      arrivals: new Arrivals(this.#fastify, this.#hub.node, overhears),
      posts: new OpenPosts(),
      settings,
      live: (options) => readLiveFor(this.#hub, options, settings),
      limits: (limits) => readLimits(limits, settings.limits),
      retry: readRetry,
      resumable: readResumable,
      open: readOpen,
      origins: readOrigins,
      hosts: readHosts,
      validator: (scope, what, schema, own) => this.#validator(scope, what, schema, own),
      plainSchemas: (scope) => this.#schemasOf(scope).plain,
      onReady: (check) => { this.#checks.push(check) }
    }
  }

  #schemasOf (scope: FastifyInstance): Schemas {
    let schemas = this.#schemas.get(scope)
    if (!schemas) this.#schemas.set(scope, schemas = new Schemas(scope))
    return schemas
  }

  #validator (scope: FastifyInstance, what: string, schema: unknown, own: unknown): Check {
    let check: Check | undefined
    const compile = (): Check => this.#schemasOf(scope).validator(what, schema, 'received', own as Compile | undefined)
    this.#checks.push(() => { check ??= compile() })
    return (data) => (check ??= compile())(data)
  }

  #topic (scope: FastifyInstance, pattern: string, options: AnyTopicOptions): DeclaredTopic {
    if (this.#ready) throw new AlreadyStarted('topic', printable(pattern))
    record('topic options', options)
    onlyKnown('topic', options, TOPIC_OPTIONS)
    const retention = readHistory('history', options.history, this.#settings.history)
    if (options.snapshot !== undefined && !retention) {
      throw new OptionInvalid('snapshot', 'needs history: without event ids, events after the snapshot could be lost')
    }
    const keyed = readKeyed(options.keyed)
    if (keyed) this.#mustCarryKeyed(pattern, options, retention)
    const topic = new DeclaredTopic(this.#hub, pattern, {
      retention,
      schemas: options.events,
      events: this.#codecs(scope, pattern, options.events),
      authorize: readAuthorize(options.authorize, this.#grants.tokens !== undefined),
      snapshot: callable('snapshot', options.snapshot),
      coalesce: readCoalesce(options.coalesce ?? 0),
      validate: this.#settings.validate,
      ...(keyed && { keyed })
    })
    this.#hub.topics.add(topic)
    const presence = readPresence(options.presence, (schema) =>
      this.#validator(scope, `the presence state of topic "${printable(pattern)}"`, schema, undefined))
    if (presence) this.#presence.declare(topic, presence)
    this.#declarations.topics.push({
      scope,
      pattern,
      params: [...topic.paramNames],
      events: options.events,
      history: retention !== undefined,
      keyed: keyed !== undefined,
      presence: presence?.mode ?? false
    })
    return topic
  }

  #mustCarryKeyed (pattern: string, options: AnyTopicOptions, retention: Retention | undefined): void {
    const { adapter } = this.#hub
    if (!retention) throw new OptionInvalid('keyed', 'needs history: event ids join the state to the live events')
    if (options.snapshot !== undefined) {
      throw new OptionInvalid('snapshot', 'cannot be used with "keyed", which keeps the state itself')
    }
    if (!keyedStatesOf(adapter)) throw new KeyedUnsupported(printable(pattern), adapter.name)
  }

  #codecs (
    scope: FastifyInstance, pattern: string, events: Record<string, unknown> | undefined
  ): Map<string, Codec> | undefined {
    if (events === undefined) return undefined
    record('events', events)
    const schemas = this.#schemasOf(scope)
    return new Map(Object.entries(events).map(([name, schema]) => {
      const fault = eventNameFault(name)
      if (fault) throw new EventNameInvalid(printable(name), fault)
      const codec = new LazyCodec(schemas, `topic "${pattern}", event "${name}"`, schema)
      this.#checks.push(() => codec.compile())
      return [name, codec]
    }))
  }
}

/** A token outlives no revocation. */
function makeGrants (hub: Hub, settings: Settings, tokens: Tokens | undefined): Grants {
  const { expiryGrace: grace, maxRevocations: most, revocationAge } = settings
  const { maxLifetime = 0, clockTolerance = 0 } = tokens?.settings ?? {}
  const revocation = { most, age: Math.max(revocationAge, maxLifetime + clockTolerance) }
  return new Grants(hub, { grace, revocation }, tokens)
}

function readLiveFor (
  hub: Hub, options: Parameters<WireContext['live']>[0], settings: Settings
): ReturnType<WireContext['live']> {
  const live = Object.freeze(readLive(options, settings))
  hub.heartbeat.allow(live.heartbeat)
  return { heartbeat: live.heartbeat, maxBuffered: live.maxBuffered, slow: live.slow }
}
