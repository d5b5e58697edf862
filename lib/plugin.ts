/** Builds the settings, the adapter and the hub, and decorates the app. */
import type { FastifyInstance, FastifyPluginAsync } from 'fastify'
import { memory } from './adapters/memory.ts'
import { call, within } from './core/callbacks.ts'
import { customReason, readReason } from './core/call-options.ts'
import type { Target } from './core/cluster/orders.ts'
import { eventNameFault, printable } from './core/event-name.ts'
import { Hub } from './core/hub.ts'
import { identityId } from './core/identity.ts'
import type { Codec } from './core/payload.ts'
import { Runs } from './features/resumable/runs.ts'
import type { Check } from './core/validation.ts'
import { checkRunKey, runOf } from './features/resumable/names.ts'
import { TopicFace, topicAt } from './core/topics/face.ts'
import { DeclaredTopic, type Params } from './core/topics/topic.ts'
import type { Compile } from './compilers.ts'
import { AlreadyRegistered, AlreadyStarted, EventNameInvalid, OptionInvalid, TargetInvalid, Unavailable } from './errors.ts'
import { Http2Sessions } from './shutdown/http2-sessions.ts'
import { callable, readAuthorize, readCoalesce, readHistory, readHosts, readLimits, readLive, readOpen, readOptions, readOrigins, readResumable, readRetry, type Settings } from './options.ts'
import { onlyKnown, record, unknownIn, whyUnknown } from './known.ts'
import { LazyCodec, Schemas } from './schemas.ts'
import { drain } from './shutdown/drain.ts'
import { registerWebSocket } from './websocket-plugin.ts'
import type { RealtimeOptions } from './types/options.ts'
import type { Realtime, RealtimeStats, RealtimeTarget, StopOptions } from './types/realtime.ts'
import type { TopicOptions } from './types/topic.ts'
import { SilentSockets } from './shutdown/silent-sockets.ts'
import { Arrivals } from './routes/arrivals.ts'
import { Peers } from './routes/peer.ts'
import { RouteCollector, type MadeRoute } from './routes/collector.ts'
import type { WireContext } from './routes/context.ts'
import { resolveTopic } from './routes/topics-option.ts'
import { Encoders } from './wires/sse/encode.ts'
import { streamDecorator } from './wires/sse/route.ts'
import { Upgrades, overhears } from './wires/websocket/dispatch.ts'
import { channelDecorator } from './wires/websocket/route.ts'

type AnyTopicOptions = TopicOptions<Params, Record<string, unknown>>

export const plugin: FastifyPluginAsync<RealtimeOptions> = async (fastify, options) => {
  if (fastify.hasDecorator('realtime')) throw new AlreadyRegistered()
  const settings = readOptions(options, fastify.initialConfig.pluginTimeout)
  const hub = new Hub(settings.adapter ?? memory(), { ...settings, log: fastify.log, app: fastify })
  const app = new App(fastify, settings, hub)
  // Before anything can go wrong: an app that is closed while its start hangs closes the adapter.
  fastify.addHook('onClose', async () => await call(() => hub.close()))
  await startWithin(fastify.initialConfig.pluginTimeout, hub)
  app.decorate()
  if (typeof settings.websocket === 'object') await registerWebSocket(fastify, settings.websocket)
}

/** Before Fastify's own limit, so that the error says what it was that hung. */
const SPARE_MS = 1000

/** What a start that fails has opened is closed again: a process that gives up must be able to end. */
async function startWithin (pluginTimeout = 10_000, hub: Hub): Promise<void> {
  const ms = pluginTimeout - Math.min(SPARE_MS, pluginTimeout / 4)
  const starting = Promise.resolve(call(() => hub.start()))
  try {
    await (ms === 0 ? starting : within(ms, starting, () => new Unavailable(`the adapter did not start within ${ms} ms (Fastify's pluginTimeout is ${pluginTimeout})`)))
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
  readonly #collector = new RouteCollector()
  readonly #upgrades: Upgrades
  readonly #sessions = new Http2Sessions()
  readonly #silent = new SilentSockets()
  readonly #schemas = new WeakMap<FastifyInstance, Schemas>()
  readonly #checks: Array<() => void> = []
  #ready = false

  constructor (fastify: FastifyInstance, settings: Settings, hub: Hub) {
    this.#fastify = fastify
    this.#settings = settings
    this.#hub = hub
    this.#runs = new Runs(hub)
    hub.attach(this.#runs)
    this.#upgrades = Upgrades.of(fastify, settings.joinTimeout)
  }

  decorate (): void {
    const fastify = this.#fastify
    const hub = this.#hub
    const context = this.#wireContext()
    const app = this
    fastify.addHook('onRoute', (route) => this.#collector.see(route as MadeRoute))
    fastify.decorate('realtime', this.#realtime())
    const decorators = {
      topic: function (this: FastifyInstance, pattern: string, options?: AnyTopicOptions) { return app.#topic(this, pattern, options ?? {}) },
      stream: streamDecorator(context, this.#collector, new Encoders()),
      channel: channelDecorator(context, this.#collector, this.#upgrades)
    }
    // Their types infer from what they are called with, which nothing that is made here can be shown to do.
    for (const [name, decorator] of Object.entries(decorators)) Reflect.apply(fastify.decorate, fastify, [name, decorator])
    fastify.addHook('onReady', async () => this.#becomeReady())
    fastify.addHook('preClose', async () => await call(() => drain(this.#settings.closeTimeout, { hub, upgrades: this.#upgrades, silent: this.#silent, sessions: this.#sessions })))
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
      runs: this.#runs,
      peers: new Peers(this.#hub),
      arrivals: new Arrivals(this.#fastify, this.#hub.node, overhears),
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

  #topic (scope: FastifyInstance, pattern: string, options: AnyTopicOptions): TopicFace {
    if (this.#ready) throw new AlreadyStarted('topic', printable(pattern))
    record('topic options', options)
    onlyKnown('topic', options, new Set(['events', 'history', 'authorize', 'snapshot', 'coalesce']))
    const retention = readHistory('history', options.history, this.#settings.history)
    if (options.snapshot !== undefined && !retention) {
      throw new OptionInvalid('snapshot', 'needs history: without ids its join with the live events could lose some')
    }
    const topic = new DeclaredTopic(this.#hub, pattern, {
      retention,
      schemas: options.events,
      events: this.#codecs(scope, pattern, options.events),
      authorize: readAuthorize(options.authorize),
      snapshot: callable('snapshot', options.snapshot),
      coalesce: readCoalesce(options.coalesce ?? 0),
      validate: this.#settings.validate
    })
    this.#hub.topics.add(topic)
    return new TopicFace(topic, this.#hub.publisher)
  }

  #codecs (scope: FastifyInstance, pattern: string, events: Record<string, unknown> | undefined): Map<string, Codec> | undefined {
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

  #realtime (): Realtime {
    const hub = this.#hub
    return Object.freeze<Realtime>({
      publish: async (name, event, data, options) => await hub.publisher.publish(hub.topics.resolve(name), event, data, options),
      history: async (name, options) => await hub.publisher.history(hub.topics.resolve(name), options),
      stop: async (key, options) => await stopRun(this.#runs, key, options),
      count: async (name) => await hub.node.counting.count(hub.topics.resolve(name).name),
      countLocal: (name) => hub.listenersHere(hub.topics.resolve(name).name),
      disconnect: async (target, reason) => {
        const { code, text, reconnect } = customReason(readReason('disconnect()', reason))
        await hub.node.order({ op: 'disconnect', target: readTarget(hub, target), code, text, reconnect })
      },
      unsubscribe: async (target, topic) => {
        await hub.node.order({ op: 'unsubscribe', target: readTarget(hub, target), topic: topicName(hub, topic) })
      },
      connections: () => [...hub.clients].map(({ face }) => face),
      stats: () => stats(hub)
    })
  }
}

async function stopRun (runs: Runs, key: string, options: StopOptions = {}): Promise<boolean> {
  record('stop options', options)
  onlyKnown('stop', options, new Set(['space']))
  const { space } = options
  if (space !== undefined && (typeof space !== 'string' || space === '')) throw new OptionInvalid('stop.space', 'must be a non-empty string')
  return await runs.stop(runOf(runs.spaces.find(space), checkRunKey('stop()', key)))
}

const TARGET: ReadonlySet<string> = new Set(['identity', 'connection', 'topic'] satisfies Array<keyof RealtimeTarget>)

/** Threat: a target that is empty, or has a word that is misspelt or has no value, would concern others than were meant. */
function readTarget (hub: Hub, target: RealtimeTarget): Target {
  const unknown = unknownIn(target ?? {}, TARGET)
  if (unknown !== undefined) throw new TargetInvalid(`: "${printable(unknown)}" ${whyUnknown(unknown, TARGET)}`)
  const given = Object.entries(target ?? {}).map(([word, value]) => [word, readWord(hub, word, value)] as const)
  if (given.length === 0 || given.some(([, value]) => value === undefined)) throw new TargetInvalid('')
  return Object.fromEntries(given)
}

function readWord (hub: Hub, word: string, value: unknown): string | undefined {
  if (word === 'identity') return identityId(value)
  if (word === 'topic') return topicAt(value) || (typeof value === 'string' && value !== '') ? topicName(hub, value) : undefined
  return word === 'connection' && typeof value === 'string' && value !== '' ? value : undefined
}

/** Of `topic.at(…)`, or a full name. @throws TopicUnknown */
function topicName (hub: Hub, topic: unknown): string {
  return resolveTopic(hub.topics, topic).name
}

function readLiveFor (hub: Hub, options: Parameters<WireContext['live']>[0], settings: Settings): ReturnType<WireContext['live']> {
  const live = Object.freeze(readLive(options, settings))
  hub.heartbeat.allow(live.heartbeat)
  return { heartbeat: live.heartbeat, maxBuffered: live.maxBuffered, slow: live.slow }
}

function stats (hub: Hub): RealtimeStats {
  const connections = { sse: 0, websocket: 0 }
  for (const connection of hub.clients) if (connection.attached) connections[connection.kind]++
  const { subscriptions, published, delivered, recovered, resets, repairs, slowClosed, dropped, refused, ringBytes, ignored } = hub.observe.counts
  const closing = hub.connections.leaving.size
  const arriving = hub.admission.size - connections.sse - connections.websocket - closing
  return { connections, arriving, closing, topics: hub.active.listenedTo, subscriptions, published, delivered, recovered, resets, repairs, slowClosed, dropped, refused, ringBytes, ignored, adapter: { name: hub.adapter.name, ...hub.adapter.stats?.() } }
}
