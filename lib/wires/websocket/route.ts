/** `fastify.channel`: a WebSocket route in the calling scope. Hooks run first; a refusal is an ordinary response. */
import type { Socket } from 'node:net'
import type { FastifyInstance, FastifyReply, FastifyRequest, RouteOptions } from 'fastify'
import { WebSocketServer } from 'ws'
import { toError } from '../../core/callbacks.ts'
import { TopicFace } from '../../core/topics/face.ts'
import type { DeclaredTopic } from '../../core/topics/topic.ts'
import {
  Closed, RouteInvalid, SchemaInvalid, SubprotocolUnknown, UpgradeInvalid, UpgradeRequired
} from '../../errors.ts'
import type { LiveSettings } from '../../options.ts'
import type { ChannelLimits } from '../../types/channel.ts'
import { Arrival, type ArrivalPlan, type LiveCallbacks } from '../../routes/arrival.ts'
import { makeRoutes, type RouteCollector, type RouteLabel } from '../../routes/collector.ts'
import type { WireContext } from '../../routes/context.ts'
import type { PresenceMode } from '../../routes/presence.ts'
import { declaredOf } from '../../routes/declared-of.ts'
import { planTopics } from '../../routes/topics-option.ts'
import { eventNameFault, printable } from '../../core/event-name.ts'
import { isRecord, slipIn, unknownIn, whyUnknown } from '../../known.ts'
import { ChannelConnection, openBytes, type ChannelPlan } from './channel-connection.ts'
import type { Upgrades } from './dispatch.ts'
import { checkOrigin, type OriginPolicy } from './origin.ts'
import { envelope } from './protocols/envelope.ts'
import { flat } from './protocols/flat.ts'
import type { Message } from './message.ts'
import type { Protocol } from './protocols/protocol.ts'
import { readRelay, type RelayChannel, type RelayOption } from './relay.ts'
import type { SessionPlan } from './session.ts'

/** What a client may offer; the first is for those that offer nothing. */
const PROTOCOLS: readonly Protocol[] = [flat, envelope]

interface ChannelRouteOptions extends LiveCallbacks, Partial<LiveSettings> {
  method?: unknown
  schema?: Record<string, unknown>
  preHandler?: unknown
  validatorCompiler?: unknown
  onRequest?: unknown
  presence?: unknown
  topics?: unknown
  subscribe?: unknown
  messages?: Record<string, { schema?: unknown, handler?: Message['handler'], relay?: RelayOption }>
  binary?: SessionPlan['binary']
  limits?: ChannelLimits
  origins?: string[] | '*'
  hosts?: string[] | '*'
  http?: unknown
}

/** What clients without WebSockets are given of a channel. */
export interface CarriedChannel extends ChannelPlan, ArrivalPlan, OriginPolicy {
  /** Bytes of the largest thing that a client says. */
  readonly bodyLimit: number
}

/** Adds another way into a channel. */
type Carry = (
  channel: CarriedChannel, scope: FastifyInstance, route: { [option: string]: unknown, url: string }
) => void

interface Plan extends CarriedChannel {
  readonly server: WebSocketServer
  readonly upgrades: Upgrades
}

export function channelDecorator (
  context: WireContext, collector: RouteCollector, upgrades: Upgrades, overHttp: Carry
) {
  return function channel (
    this: FastifyInstance, url: string, options: ChannelRouteOptions, ...more: unknown[]
  ): FastifyInstance {
    const {
      topics, subscribe, messages, binary, limits, origins, hosts, presence, http,
      heartbeat, maxBuffered, slow, onConnect, onDisconnect, ...route
    } = options ?? {}
    const label: RouteLabel = { kind: 'channel', url }
    checkChannel(label, options, more)
    const urls: string[] = []
    const offered = readSubscribe(label, subscribe)
    const ownLimits = context.limits(limits)
    const bodyLimit = Math.max(ownLimits.messageBytes, openBytes(
      context.settings.maxTopics * (presence ? 2 : 1), context.grants.tokens?.settings.maxBytes ?? 0
    ))
    const plan: Plan = {
      context,
      kind: 'websocket',
      presence: context.presenceMode(presence),
      hub: context.hub,
      upgrades,
      limits: ownLimits,
      bodyLimit,
      maxTopics: context.settings.maxTopics,
      maxCursors: maxCursors(context.settings.maxTopics, context.presenceMode(presence)),
      live: context.live(Object.fromEntries(
        Object.entries({ heartbeat, maxBuffered, slow }).filter(([, value]) => value !== undefined)
      )),
      callbacks: { onConnect, onDisconnect, more: messages !== undefined || binary !== undefined },
      topicsFor: planTopics(context, label, topics, () => urls),
      subscribe: offered,
      messages: readMessages(
        { context, scope: this, label, topics, subscribe: offered, urls: () => urls },
        messages ?? {},
        route.validatorCompiler
      ),
      binary: binary && ((data, ctx) => binary.call(this, data, ctx)),
      origins: origins === undefined ? context.settings.origins : context.origins(origins),
      hosts: hosts === undefined ? context.settings.hosts : context.hosts(hosts),
      server: new WebSocketServer({
        noServer: true,
        clientTracking: false,
        maxPayload: bodyLimit,
        perMessageDeflate: false,
        handleProtocols: (offered) => offeredOf(offered)?.subprotocol ?? false
      })
    }
    checkFlatEvents(context, label, topics)
    context.arrivals.watch('channel')
    const common = {
      ...route,
      url,
      onRequest: [context.arrivals.onRequest, ...[route.onRequest ?? []].flat()],
      schema: { ...route.schema, hide: true }
    }
    if (http === true) overHttp(plan, this, common)
    const made = makeRoutes(this, collector, {
      ...common,
      method: 'GET',
      exposeHeadRoute: false,
      handler: (_request: FastifyRequest, reply: FastifyReply) => {
        reply.header('upgrade', 'websocket').send(new UpgradeRequired())
      }
    })
    context.declarations.routes.push({
      kind: 'channel',
      scope: this,
      made,
      topics,
      subscribe,
      source: false,
      binary: binary !== undefined,
      http: http === true,
      messages: messages ?? {},
      schema: route.schema ?? {}
    })
    for (const one of made) {
      urls.push(one.url)
      upgrades.expect(one.url, one.constraints)
      // Behind every hook that could refuse.
      one.preHandler = [...[one.preHandler ?? []].flat(), preHandler(plan)] as NonNullable<RouteOptions['preHandler']>
    }
    return this
  }
}

/** The most topics an `open` may name, where `maxTopics` is not more. */
const MIN_CURSORS = 64

/** And as many that say who is there. */
function maxCursors (maxTopics: number, presence: PresenceMode): number {
  return Math.max(MIN_CURSORS, maxTopics) * (presence ? 2 : 1)
}

const SOURCES: ReadonlySet<string> = new Set(
  ['topics', 'subscribe', 'messages', 'binary'] satisfies Array<keyof ChannelRouteOptions>
)

function checkChannel ({ kind, url }: RouteLabel, options: ChannelRouteOptions, more: readonly unknown[]): void {
  if (typeof options !== 'object' || options === null || more.length > 0) {
    throw new RouteInvalid(kind, url, 'needs options, e.g. "topics" or "messages", and no further argument. ' +
      'A channel has no socket handler: "messages" handle what clients send, and "binary" handles bytes')
  }
  const { topics, subscribe, messages, binary, method, http } = options
  if (method !== undefined && String(method).toUpperCase() !== 'GET') throw new RouteInvalid(kind, url, 'is always GET')
  if (topics === undefined && subscribe === undefined && messages === undefined && binary === undefined) {
    throw new RouteInvalid(kind, url, `needs "topics", "subscribe", "messages" or "binary"${slipIn(options, SOURCES)}`)
  }
  if (http !== undefined && typeof http !== 'boolean') {
    throw new RouteInvalid(kind, url, 'has an "http" that is not true or false')
  }
  for (const name of ['onConnect', 'onDisconnect', 'binary'] as const) {
    if (options[name] !== undefined && typeof options[name] !== 'function') {
      throw new RouteInvalid(kind, url, `has "${name}" that is not a function`)
    }
  }
}

function readSubscribe ({ kind, url }: RouteLabel, subscribe: unknown): DeclaredTopic[] {
  const given: unknown[] = subscribe === undefined ? [] : [subscribe].flat()
  return given.map((one) => {
    const topic = TopicFace.declared(one)
    if (!topic) throw new RouteInvalid(kind, url, 'has a "subscribe" that is not a Topic or an array of them')
    // Threat: the params of these are the client's choice, so no hook of the route has judged them.
    if (topic.policy.authorize === undefined) {
      throw new RouteInvalid(kind, url, `offers "${topic.pattern}" for "subscribe", ` +
        'which has no "authorize" that decides which of its topics a client may join. ' +
        'Add "authorize" to the topic, or authorize: \'anyone\' if every client may hear all of them')
    }
    return topic
  })
}

const HOW = 'a "handler" or a "relay": true, a function, or { topic, data }'
const MESSAGE: ReadonlySet<string> = new Set(['schema', 'handler', 'relay'])

function readMessages (
  channel: RelayChannel, messages: NonNullable<ChannelRouteOptions['messages']>, compiler: unknown
): Map<string, Message> {
  const { context, scope, label: { kind, url } } = channel
  const read = new Map<string, Message>()
  for (const [name, message] of Object.entries(messages)) {
    const fault = eventNameFault(name)
    if (fault) throw new RouteInvalid(kind, url, `has a message "${name}": the name ${fault}`)
    if (!isRecord(message)) throw new RouteInvalid(kind, url, `has a message "${name}" that needs ${HOW}`)
    const unknown = unknownIn(message, MESSAGE)
    if (unknown !== undefined) {
      throw new RouteInvalid(kind, url,
        `has a message "${name}" with "${printable(unknown)}", which ${whyUnknown(unknown, MESSAGE)}`)
    }
    const relay = message?.relay
    const relays = relay === true || typeof relay === 'function' || (typeof relay === 'object' && relay !== null)
    if ((typeof message?.handler === 'function') === relays) {
      throw new RouteInvalid(kind, url,
        `has a message "${name}" that needs either ${HOW}`)
    }
    read.set(name, {
      check: message.schema === undefined
        ? undefined
        : context.validator(scope, `${kind} "${url}", message "${name}"`, message.schema, compiler),
      handler: message.handler && ((data, ctx) => message.handler?.call(scope, data, ctx)),
      relay: relays ? readRelay(channel, name, relay) : undefined
    })
  }
  return read
}

/** A flat client's events are objects without a `type` of their own: where the schema shows otherwise, say so now. */
function checkFlatEvents (context: WireContext, { kind, url }: RouteLabel, topics: unknown): void {
  for (const one of [topics].flat()) {
    for (const [event, schema] of Object.entries(declaredOf(context.hub.topics, one)?.policy.schemas ?? {})) {
      const { type, properties } = (schema ?? {}) as { type?: unknown, properties?: object }
      const where = `${kind} "${url}", event "${event}"`
      if (typeof type === 'string' && type !== 'object') {
        throw new SchemaInvalid(where, `a channel's event data must be an object, not ${type}`)
      }
      if (properties && Object.hasOwn(properties, 'type')) {
        throw new SchemaInvalid(where,
          'a channel\'s event data must not have a "type": in plain JSON, "type" is the event\'s name')
      }
    }
  }
}

// --- one upgrade --------------------------------------------------------------------

function preHandler (plan: Plan) {
  return (request: FastifyRequest, reply: FastifyReply): Promise<unknown> =>
    upgrade(plan, request, reply).catch((thrown: unknown) => { throw toError(thrown) })
}

async function upgrade (plan: Plan, request: FastifyRequest, reply: FastifyReply): Promise<unknown> {
  const pending = plan.upgrades.enter(request.raw)
  // An ordinary request: the route's handler answers 426.
  if (!pending) return undefined
  // Its socket is another request's, or a WebSocket already: nothing may be written to it.
  if (pending === 'entered') return reply.hijack()
  if (pending.socket.destroyed) throw new Closed()
  checkOrigin(plan, request)
  const protocol = checkHandshake(request)
  const arriving = Arrival.of(plan, request, protocol.clientOpens)
  const arrival = arriving instanceof Arrival ? arriving : await arriving
  const { connection } = arrival
  if (connection.closed || pending.socket.destroyed || reply.sent) {
    arrival.abandon()
    throw new Closed()
  }
  reply.hijack()
  plan.upgrades.taken(pending)
  reply.raw.detachSocket?.(pending.socket as Socket)
  try {
    // Everything is attached in the turn of the upgrade: no message and no end can go by unseen.
    plan.server.handleUpgrade(request.raw, pending.socket, pending.head, (ws) =>
      new ChannelConnection(plan, arrival, request, pending.socket, ws, protocol).accept())
  } finally {
    // Refused by ws itself, which has answered.
    if (!connection.attached) arrival.abandon()
  }
  return reply
}

const KEY = /^[+/0-9A-Za-z]{22}==$/

/** What ws would refuse without Fastify's error shape. */
function checkHandshake (request: FastifyRequest): Protocol {
  const {
    upgrade, 'content-length': length = '0', 'transfer-encoding': encoding,
    'sec-websocket-key': key, 'sec-websocket-version': version,
    'sec-websocket-protocol': protocols
  } = request.headers
  if (upgrade?.toLowerCase() !== 'websocket') throw new UpgradeInvalid('"upgrade" is not "websocket"')
  // Threat: what one side takes for a body the other would take for frames.
  if (Number(length) !== 0 || encoding !== undefined) throw new UpgradeInvalid('it has a body')
  if (typeof key !== 'string' || !KEY.test(key)) throw new UpgradeInvalid('"sec-websocket-key" is missing or malformed')
  if (String(version) !== '13') throw new UpgradeInvalid('"sec-websocket-version" must be 13')
  if (protocols === undefined) return PROTOCOLS[0] as Protocol
  const offered = protocols.split(',').map((protocol) => protocol.trim())
  if (offered.some((protocol) => !/^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/.test(protocol)) ||
    new Set(offered).size !== offered.length) {
    throw new UpgradeInvalid('"sec-websocket-protocol" is malformed')
  }
  const protocol = offeredOf(new Set(offered))
  if (!protocol) throw new SubprotocolUnknown()
  return protocol
}

function offeredOf (offered: ReadonlySet<string>): Protocol | undefined {
  return PROTOCOLS.find(({ subprotocol }) => subprotocol !== undefined && offered.has(subprotocol))
}
