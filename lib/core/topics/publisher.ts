/** Publishes: checks an event, encodes it once, and passes it to the adapter. Also reads the history for the app. */
import type { Adapter, AppendOptions, EventId, LogEvent, TraceContext } from '../adapter.ts'
import { readHistoryOptions, readPublishOptions, readRemoveOptions, type PublishKeys } from '../call-options.ts'
import { checkEventName } from '../event-name.ts'
import { REMOVED, type Receiver } from '../event.ts'
import type { Observer } from '../observe.ts'
import { decode, encodeJson, type Payload } from '../payload.ts'
import type { HistoryEvent, HistoryPage, Published } from '../published.ts'
import { keepTrace } from '../trace.ts'
import { inSpan, type Publishing, type PublishSpan, type Tracer, type Tracing } from '../tracing.ts'
import type { TopicAt, TopicPolicy } from './topic.ts'
import { nextTurn } from '../turn.ts'
import { Closed, HistoryUnavailable, NotKeyed, PublishOptionInvalid } from '../../errors.ts'

export interface PublisherHost {
  readonly adapter: Adapter
  readonly observe: Observer
  readonly tracing: Tracing
  readonly stopping: boolean
  /** A fan-out has members that wait to be written to. */
  readonly busy: boolean
}

/** After so many events or bytes a publish waits for another turn of the event loop, so that sockets can drain. */
const TURN_EVENTS = 128
const TURN_BYTES = 128 * 1024
/** The most turns that a publish waits for the fan-out. */
const MAX_TURNS = 16
const HISTORY_BYTES = 16 << 20

/** The topic to publish to. */
type Target = Pick<TopicAt, 'topic' | 'params'>

export class Publisher {
  readonly #host: PublisherHost
  #turnEvents = 0
  #turnBytes = 0
  #turn: Promise<void> | undefined

  constructor (host: PublisherHost) {
    this.#host = host
  }

  /**
   * @throws Closed, EventNameInvalid, PublishOptionInvalid, TopicParamsInvalid, EventUnknown, EventDataInvalid,
   * EventTooLarge, Conflict
   */
  publish (target: Target, event: string, data: unknown, options?: unknown): Promise<Published> {
    const { tracer } = this.#host.tracing
    // Without a tracer there is no additional promise.
    return tracer
      ? inSpan(begun(tracer, 'publish', target, event), (span) => this.#publish(target, event, data, options, span))
      : this.#publish(target, event, data, options)
  }

  async #publish (
    { topic, params }: Target, event: string, data: unknown, options: unknown, span?: PublishSpan
  ): Promise<Published> {
    const { adapter, observe } = this.#host
    const name = topic.name(params)
    if (this.#host.stopping) throw new Closed()
    checkEventName(event)
    const keys = readPublishOptions(options)
    if (keys.expect !== undefined && !topic.durable) {
      throw new PublishOptionInvalid('expect', 'needs a topic with history')
    }
    if (topic.policy.keyed && keys.key === undefined) {
      throw new PublishOptionInvalid('key', `is needed: the topic "${topic.pattern}" is keyed`)
    }
    const began = observe.began('publish')
    const encoding = topic.encode(name, event, data)
    const payload = encoding instanceof Promise ? await encoding : encoding
    const size = payload.data.byteLength
    const published = await append(adapter, topic.policy, name, event, payload, keys, span?.trace)
    const id = published ? published.id : undefined
    span?.done(size, id)
    observe.published({ name, pattern: topic.pattern }, event, id, size, began)
    const turn = this.#yieldAfter(size)
    if (turn) await turn
    return { id }
  }

  /** Removes a key of a keyed topic. The removal is an event, too. */
  remove (target: Target, key: unknown, options?: unknown): Promise<Published> {
    const { tracer } = this.#host.tracing
    return tracer
      ? inSpan(begun(tracer, 'remove', target, REMOVED), (span) => this.#remove(target, key, options, span))
      : this.#remove(target, key, options)
  }

  async #remove (
    { topic, params }: Target, key: unknown, options: unknown, span?: PublishSpan
  ): Promise<Published> {
    const { adapter, observe } = this.#host
    const { keyed, retention } = topic.policy
    const name = topic.name(params)
    if (this.#host.stopping) throw new Closed()
    if (!keyed || !retention) throw new NotKeyed(topic.pattern)
    const { dedupe, expect } = readRemoveOptions(key, options)
    const began = observe.began('publish')
    const data = encodeJson(name, REMOVED, { topic: name, key })
    const { id: appended } = await adapter.publish(name, REMOVED, data, {
      retention,
      format: 'json',
      key: key as string,
      keyed: { change: 'remove', bounds: keyed.bounds },
      ...(span?.trace && { trace: span.trace }),
      ...(dedupe === undefined ? {} : { dedupe }),
      ...(expect === undefined ? {} : { expect })
    })
    const id = appended === '' ? undefined : appended
    span?.done(data.byteLength, id)
    const turn = this.#yieldAfter(data.byteLength)
    if (id) observe.published({ name, pattern: topic.pattern }, REMOVED, id, data.byteLength, began)
    if (turn) await turn
    return { id }
  }

  /** Appends data that is checked and encoded already. */
  async append (name: string, event: string, data: Uint8Array, options: AppendOptions): Promise<void> {
    await this.#host.adapter.publish(name, event, data, options)
    await this.#yieldAfter(data.byteLength)
  }

  /** Passes a client's event on to the others in the topic, and never stores it. `sender`: who does not get it. */
  async relay (at: TopicAt, event: string, data: unknown, sender: Receiver | undefined): Promise<void> {
    const { tracer } = this.#host.tracing
    await (tracer
      ? inSpan(begun(tracer, 'relay', at, event), (span) => this.#relay(at, event, data, sender, span))
      : this.#relay(at, event, data, sender))
  }

  async #relay (
    { topic, name }: TopicAt, event: string, data: unknown, sender: Receiver | undefined, span?: PublishSpan
  ): Promise<void> {
    if (this.#host.stopping) throw new Closed()
    // Always checked, whatever `validate` says, because the data comes from a client.
    const payload = await topic.encode(name, event, data, true)
    const except = sender && { connection: sender.id, identity: String(sender.identity.id) }
    await this.#host.adapter.ephemeral(name, {
      name: event, ...payload, ...(except && { except }), ...(span?.trace && { trace: span.trace })
    })
    span?.done(payload.data.byteLength, undefined)
  }

  /** @throws OptionInvalid, HistoryUnavailable */
  async history ({ topic, name }: TopicAt, options?: unknown): Promise<HistoryPage> {
    const { after, limit } = readHistoryOptions(options)
    if (!topic.durable) throw new HistoryUnavailable(topic.pattern)
    const page = await this.#host.adapter.read(name, after, { count: limit, bytes: HISTORY_BYTES })
    const heard = { name, pattern: topic.pattern, keyed: topic.policy.keyed !== undefined }
    const events = page.events.flatMap((event) => pastEvent(event, heard) ?? [])
    // An event that cannot be decoded is left out, as if it were no longer kept.
    return { events, linked: page.linked && events.length === page.events.length, more: page.more }
  }

  /** Undefined if the publisher may go on at once. */
  #yieldAfter (bytes: number): Promise<void> | undefined {
    this.#turnEvents++
    this.#turnBytes += bytes
    if (this.#turnEvents < TURN_EVENTS && this.#turnBytes < TURN_BYTES) return undefined
    this.#turn ??= this.#turns()
    return this.#turn
  }

  /** Waits for one turn, or for as many as the fan-out needs: publishing must not run away from the fan-out. */
  async #turns (): Promise<void> {
    for (let turns = 0; turns === 0 || (turns < MAX_TURNS && this.#host.busy); turns++) await nextTurn()
    this.#turn = undefined
    this.#turnEvents = 0
    this.#turnBytes = 0
  }
}

/** The params of `target` may be wrong. Then the publish throws within the span. */
function begun (tracer: Tracer, kind: Publishing['kind'], { topic, params }: Target, event: unknown): PublishSpan {
  let name: string | undefined
  try {
    name = topic.name(params)
  } catch {}
  return tracer.publish({ kind, pattern: topic.pattern, event, topic: name })
}

function append (
  adapter: Adapter, { retention, keyed }: TopicPolicy, name: string, event: string, { data, format }: Payload,
  { key, dedupe, except: connection, expect }: PublishKeys, trace: TraceContext | undefined
): Promise<{ id: EventId } | void> {
  const plain = key === undefined && dedupe === undefined && connection === undefined && expect === undefined
  // Most publishes have none of these options.
  if (retention && plain) {
    return adapter.publish(name, event, data, trace ? { retention, format, trace } : { retention, format })
  }
  const more = {
    ...(key === undefined ? {} : { key }),
    ...(connection === undefined ? {} : { except: { connection } }),
    ...(trace && { trace })
  }
  if (!retention) return adapter.ephemeral(name, { name: event, data, format, ...more })
  return adapter.publish(name, event, data, {
    retention,
    format,
    ...more,
    ...(dedupe === undefined ? {} : { dedupe }),
    ...(expect === undefined ? {} : { expect }),
    ...(keyed ? { keyed: { change: 'put', bounds: keyed.bounds } } : {})
  })
}

function pastEvent (
  event: LogEvent, topic: { readonly name: string, readonly pattern: string, readonly keyed: boolean }
): HistoryEvent | undefined {
  const { id, name, key, trace } = event
  try {
    const past = { id, event: name, data: decode(event), ...(topic.keyed && key !== undefined ? { key } : {}) }
    return keepTrace(past, trace, topic)
  } catch {
    return undefined
  }
}
