/**
 * `relay`: a client's own event for the others in a topic. Where it goes and what is sent stands in the declaration: no
 * client chooses it beyond what it may join.
 */
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { printable } from '../../core/event-name.ts'
import type { Hub } from '../../core/hub.ts'
import { encodeJson } from '../../core/payload.ts'
import { TopicFace, topicAt } from '../../core/topics/face.ts'
import type { DeclaredTopic, Params, TopicAt } from '../../core/topics/topic.ts'
import { RouteInvalid, TopicParamsMissing } from '../../errors.ts'
import { unknownIn, whyUnknown } from '../../known.ts'
import type { RouteLabel } from '../../routes/collector.ts'
import type { WireContext } from '../../routes/context.ts'
import { planOne, type TopicPlan } from '../../routes/topics-option.ts'
import { Fault } from './fault.ts'

type Replace = (data: unknown, context: object) => unknown

export interface Relay {
  /** The topic that a message goes to. `named`: what the client says. @throws Fault */
  to (request: FastifyRequest, named: unknown): TopicAt
  /** What is sent in place of the client's data; undefined: nothing. */
  readonly replace: Replace | undefined
}

/** What a relay needs to know of its channel. */
export interface RelayChannel {
  readonly context: WireContext
  readonly scope: FastifyInstance
  readonly label: RouteLabel
  readonly topics: unknown
  readonly subscribe: readonly DeclaredTopic[]
  readonly urls: () => string[]
}

export type RelayOption = boolean | Replace | { topic?: unknown, data?: unknown }

/** @throws RouteInvalid */
export function readRelay (channel: RelayChannel, name: string, option: RelayOption): Relay {
  const { scope } = channel
  const { topic, data } = explicit(channel, name, option)
  return {
    to: planTarget(channel, name, topic),
    replace: data && ((value, context) => data.call(scope, value, context))
  }
}

function invalid ({ label: { kind, url } }: RelayChannel, name: string, why: string): Error {
  return new RouteInvalid(kind, url, `has a message "${printable(name)}" whose relay ${why}`)
}

/** `true` and a function go to the channel's topic, where that is one and no other. */
function explicit (
  channel: RelayChannel, name: string, option: RelayOption
): { topic: unknown, data: Replace | undefined } {
  if (typeof option === 'object') return checked(channel, name, option)
  const only = [channel.topics].flat()
  // Threat: a client that hears several topics would choose which of them it writes into.
  if (only.length !== 1 || only[0] === undefined || typeof only[0] === 'function') {
    throw invalid(channel, name,
      'names no topic, but the channel does not have exactly one topic: use relay: { topic, data }')
  }
  return { topic: only[0], data: typeof option === 'function' ? option : undefined }
}

const RELAY: ReadonlySet<string> = new Set(['topic', 'data'])

function checked (
  channel: RelayChannel, name: string, option: { topic?: unknown, data?: unknown }
): { topic: unknown, data: Replace | undefined } {
  const { topic, data } = option
  const unknown = unknownIn(option, RELAY)
  if (unknown !== undefined) {
    throw invalid(channel, name, `has "${printable(unknown)}", which ${whyUnknown(unknown, RELAY)}`)
  }
  if (!TopicFace.declared(topic) && !topicAt(topic) && typeof topic !== 'string') {
    throw invalid(channel, name, 'needs a "topic": a Topic, topic.at(…) or a name')
  }
  if (data !== undefined && typeof data !== 'function') {
    throw invalid(channel, name, 'has a "data" that is not a function')
  }
  return { topic, data: data as Replace | undefined }
}

function planTarget (channel: RelayChannel, name: string, topic: unknown): Relay['to'] {
  const { context, label } = channel
  const plan = planOne(context, label, topic)
  checkEvent(channel, name, plan)
  const target: Target = { channel, plan, own: true, choosable: false }
  context.onReady(() => becomeReady(target, name))
  return ({ params }, named) => findTarget(target, params as Params, named)
}

interface Target {
  readonly channel: RelayChannel
  readonly plan: TopicPlan
  /** The route's params name it. */
  own: boolean
  /** The client joins topics of this pattern, and says which of them it means. */
  choosable: boolean
}

/** Strings are known by their owners only now, and routes by their whole URLs. */
function becomeReady (target: Target, name: string): void {
  const { channel, plan } = target
  const { context: { hub }, label: { url }, subscribe } = channel
  const missing = missingParam(plan, channel.urls())
  const owner = plan.owner()
  checkEvent(channel, name, plan)
  target.own = missing === undefined
  target.choosable = owner !== undefined && subscribe.includes(owner)
  if (missing && !target.choosable) throw missing
  if (owner?.policy.authorize !== 'anyone') return
  hub.log.warn({ topic: owner.pattern, channel: url, message: name },
    'realtime: a relay goes to a topic with authorize: "anyone", which only allows subscribing, ' +
    'so every message is refused. ' +
    'Give the topic an authorize function that returns true for the action "publish"')
}

function missingParam (plan: TopicPlan, urls: string[]): Error | undefined {
  try {
    for (const url of urls) plan.check(url)
    return undefined
  } catch (error) {
    if (error instanceof TopicParamsMissing) return error
    throw error
  }
}

function checkEvent (channel: RelayChannel, name: string, plan: TopicPlan): void {
  const owner = plan.owner()
  if (!owner?.policy.events || owner.policy.events.has(name)) return
  throw invalid(channel, name,
    `goes to topic "${owner.pattern}", which declares no such event: add it to the topic's events`)
}

/** Whether the client is in it is another question. */
function findTarget (
  { channel: { context }, plan, own, choosable }: Target, params: Params, named: unknown
): TopicAt {
  const at = own ? plan.at(params ?? {}) : undefined
  const meant = named === undefined ? at : topicNamed(context.hub, named)
  if (!meant) throw new Fault('UNKNOWN_TOPIC', 'this message needs a "topic" that this client has joined')
  if (meant.name !== at?.name && !(choosable && plan.matches(meant))) throw notIn()
  return meant
}

/** What a client names. @throws Fault */
export function topicNamed ({ topics }: Pick<Hub, 'topics'>, named: unknown): TopicAt {
  try {
    return topics.resolve(named)
  } catch {
    throw notIn()
  }
}

// Threat: a serializer makes something that fits of what does not (5 of "5", 0 of null), and the client's word would
// pass.
/** Checks a client's data as it is, before it is written by the event's schema. @throws Fault, EventDataInvalid */
export async function mustFit (at: TopicAt, name: string, data: unknown): Promise<void> {
  const codec = at.topic.policy.events?.get(name)
  if (!codec) return
  const plain: unknown = JSON.parse(Buffer.from(encodeJson(at.name, name, data)).toString())
  const fault = await codec.fault(plain, data)
  if (fault !== undefined) throw new Fault('INVALID_DATA', fault)
}

export function notIn (): Fault {
  return new Fault('UNKNOWN_TOPIC', 'this message cannot go to that topic, or this client has not joined it')
}
