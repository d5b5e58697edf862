/** `app.realtime`: what its public type says, and no way to what is behind it. */
import { customReason, readDisconnect } from './core/call-options.ts'
import type { Target } from './core/cluster/orders.ts'
import { printable } from './core/event-name.ts'
import type { Hub } from './core/hub.ts'
import { identityId } from './core/identity.ts'
import { topicAt } from './core/topics/face.ts'
import type { TopicAt } from './core/topics/topic.ts'
import { OptionInvalid, TargetInvalid } from './errors.ts'
import type { Declarations } from './routes/declarations.ts'
import type { RealtimeDescription } from './types/description.ts'
import type { Grants } from './features/grants/grants.ts'
import { signToken } from './features/grants/sign.ts'
import type { BegunRuns } from './features/resumable/begun-runs.ts'
import { checkRunKey, runOf } from './features/resumable/names.ts'
import type { Runs } from './features/resumable/runs.ts'
import { onlyKnown, record, unknownIn, whyUnknown } from './known.ts'
import { resolveName, resolveTopic } from './routes/topics-option.ts'
import type { Connection } from './types/connection.ts'
import type { AnyItem, SubscribeOptions, TopicSubscription } from './types/topic.ts'
import type { Realtime, RealtimeStats, RealtimeTarget, StopOptions } from './types/realtime.ts'

interface RunsOfNode { readonly runs: Runs, readonly begun: BegunRuns }
interface Features extends RunsOfNode {
  readonly grants: Grants
  readonly declarations: Declarations
}

/** Who makes subscriptions within the process. */
interface Subscribing {
  subscribe (at: TopicAt, options?: SubscribeOptions): TopicSubscription<AnyItem>
}

// Arrow functions: each works by itself too, as `const { publish } = app.realtime` has it.
export class RealtimeFace implements Realtime {
  readonly #hub: Hub
  readonly #runs: RunsOfNode
  readonly #grants: Grants
  readonly #declarations: Declarations
  readonly #process: Subscribing

  constructor (hub: Hub, features: Features, process: Subscribing) {
    this.#hub = hub
    this.#runs = features
    this.#grants = features.grants
    this.#declarations = features.declarations
    this.#process = process
    Object.freeze(this)
  }

  readonly remove: Realtime['remove'] = async (name, key, options) => {
    return await this.#hub.publisher.remove(resolveName(this.#hub.topics, name), key, options)
  }

  readonly state: Realtime['state'] = async (name, options) => {
    return await this.#hub.states.read(resolveName(this.#hub.topics, name), options)
  }

  readonly publish: Realtime['publish'] = async (name, event, data, options) => {
    return await this.#hub.publisher.publish(resolveName(this.#hub.topics, name), event, data, options)
  }

  readonly history: Realtime['history'] = async (name, options) => {
    return await this.#hub.publisher.history(resolveName(this.#hub.topics, name), options)
  }

  readonly subscribe: Realtime['subscribe'] = (name, options) =>
    this.#process.subscribe(resolveName(this.#hub.topics, name), options)

  readonly stop: Realtime['stop'] = async (key, options) => await stopRun(this.#runs, key, options)

  readonly count: Realtime['count'] = async (name) => {
    return await this.#hub.node.counting.count(resolveName(this.#hub.topics, name).name)
  }

  readonly countLocal: Realtime['countLocal'] = (name) =>
    this.#hub.listenersHere(resolveName(this.#hub.topics, name).name)

  readonly disconnect: Realtime['disconnect'] = async (target, reason) => {
    const { revoke, ...why } = readDisconnect(reason)
    const { code, text, reconnect } = customReason(why)
    const whose = readTarget(this.#hub, target)
    if (revoke) await this.#grants.revocation.revoke(onlyIdentity(whose))
    await this.#hub.node.order({ op: 'disconnect', target: whose, code, text, reconnect })
  }

  readonly sign: Realtime['sign'] = (options) => signToken(this.#grants, this.#hub.topics, options)

  readonly revoke: Realtime['revoke'] = async (target, topic) => {
    const order = { op: 'unsubscribe', target: readTarget(this.#hub, target), topic: topicName(this.#hub, topic) }
    await this.#hub.node.order(order)
  }

  readonly connections = (): Connection[] => this.#hub.connections.all.map(({ face }) => face)
  readonly stats = (): RealtimeStats => statsOf(this.#hub)

  readonly describe = (): RealtimeDescription => this.#declarations.describe(this.#hub.topics)
}

async function stopRun ({ runs, begun }: RunsOfNode, key: string, options: StopOptions = {}): Promise<boolean> {
  record('stop options', options)
  onlyKnown('stop', options, new Set(['space']))
  const { space } = options
  if (space !== undefined && (typeof space !== 'string' || space === '')) {
    throw new OptionInvalid('stop.space', 'must be a non-empty string')
  }
  const run = { space: runs.spaces.find(space), key: checkRunKey('stop()', key) }
  return runs.spaces.areBegun(run.space) ? await begun.stop(run) : await runs.stop(runOf(run.space, run.key))
}

const TARGET: ReadonlySet<string> = new Set(['identity', 'connection', 'topic'] satisfies Array<keyof RealtimeTarget>)

// Threat: a target that is empty, or has a word that is misspelt or has no value, would concern others than were meant.
function readTarget (hub: Hub, target: RealtimeTarget): Target {
  if (typeof target === 'string') throw new TargetInvalid(', as { identity: "42" }')
  const unknown = unknownIn(target ?? {}, TARGET)
  if (unknown !== undefined) throw new TargetInvalid(`: "${printable(unknown)}" ${whyUnknown(unknown, TARGET)}`)
  const given = Object.entries(target ?? {}).map(([word, value]) => [word, readWord(hub, word, value)] as const)
  if (given.length === 0 || given.some(([, value]) => value === undefined)) throw new TargetInvalid('')
  return Object.fromEntries(given)
}

/** What was issued says whose it is, and nothing of connections or topics. @throws TargetInvalid */
function onlyIdentity ({ identity, connection, topic }: Target): string {
  if (identity !== undefined && connection === undefined && topic === undefined) return identity
  throw new TargetInvalid('; with "revoke" only "identity" is allowed')
}

function readWord (hub: Hub, word: string, value: unknown): string | undefined {
  if (word === 'identity') return identityId(value)
  const isText = typeof value === 'string' && value !== ''
  if (word === 'topic') return topicAt(value) || isText ? topicName(hub, value) : undefined
  return word === 'connection' && isText ? value : undefined
}

/** Of `topic.at(…)`, or a full name. @throws TopicUnknown */
function topicName (hub: Hub, topic: unknown): string {
  return resolveTopic(hub.topics, topic).name
}

function statsOf (hub: Hub): RealtimeStats {
  const connections = { sse: 0, websocket: 0, process: 0 }
  let placed = 0
  for (const { attached, kind, place } of hub.connections.all) {
    if (!attached) continue
    connections[kind]++
    if (place) placed++
  }
  const closing = hub.connections.leaving.size
  const arriving = hub.admission.size - placed - closing
  const adapter = { name: hub.adapter.name, ...hub.adapter.stats?.() }
  const subscriptionsByPattern = Object.fromEntries(hub.topics.all.map((topic) => [topic.pattern, topic.subscriptions]))
  const topics = hub.active.listenedTo
  return { connections, arriving, closing, topics, ...hub.observe.counts, subscriptionsByPattern, adapter }
}
