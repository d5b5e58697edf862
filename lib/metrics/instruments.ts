/** The metrics by their names, in base units. The labels are few: a topic has its pattern, never its name. */
import type { Counter, Gauge, Histogram, Metric, Registry } from 'prom-client'
import { OptionInvalid } from '../errors.ts'
import type { Realtime, RealtimeStats } from '../types/realtime.ts'
import { Tallies, type Durations, type Tally } from './tallies.ts'

/** The exports of prom-client. */
export type PromClient = typeof import('prom-client')

export interface InstrumentOptions {
  register: Registry
  prefix: string
  /** Seconds. */
  buckets: number[]
  realtime: Realtime
}

/** Asks once for each turn, because a registry collects all of its metrics at once. */
class OncePerTurn<T> {
  readonly #ask: () => T
  #answer: { readonly value: T } | undefined

  constructor (ask: () => T) {
    this.#ask = ask
  }

  get value (): T {
    if (!this.#answer) {
      this.#answer = { value: this.#ask() }
      queueMicrotask(() => { this.#answer = undefined })
    }
    return this.#answer.value
  }
}

const WIRES = ['sse', 'websocket', 'process'] as const

export class Instruments {
  /** What each publish and each delivery adds to. */
  readonly tallies: Tallies
  readonly recovered: Counter
  readonly resets: Counter
  readonly closed: Counter
  readonly slowClosed: Counter
  readonly dropped: Counter
  readonly repairs: Counter
  readonly adapterUp: Gauge
  readonly #client: PromClient
  readonly #options: InstrumentOptions
  readonly #made = new Map<string, unknown>()
  readonly #stats: OncePerTurn<RealtimeStats>

  /** @throws OptionInvalid if the registry has one of the names already */
  constructor (client: PromClient, options: InstrumentOptions) {
    this.#client = client
    this.#options = options
    this.#stats = new OncePerTurn(() => options.realtime.stats())
    const topic = ['topic']
    this.tallies = new Tallies(options.buckets)
    this.#addTallies()
    this.recovered = this.#counter('recover_total', 'Topics of clients that reconnected', ['result'])
    this.resets = this.#counter('reset_total', 'Topics of clients that got a reset', ['reason'])
    this.closed = this.#counter('closed_total', 'Connections that have ended', ['wire', 'reason'])
    this.slowClosed = this.#counter('slow_closed_total', 'Clients closed because they did not read', [])
    this.dropped = this.#counter('dropped_total', 'Events dropped or replaced for clients that did not read', topic)
    this.repairs = this.#counter('repairs_total', 'Gaps that were repaired from the history', topic)
    this.adapterUp = this.#gauge('adapter_up', 'Whether the adapter works: 1, or 0 while it is away', ['adapter'])
    this.#addStats()
  }

  #addTallies (): void {
    this.#tallied('published_total', 'Events that the adapter has taken from this node', (one) => one.published)
    this.#tallied('published_bytes_total', 'Bytes of their data', (one) => one.publishedBytes)
    this.#tallied('delivered_total', 'Live events written to listeners, one for each listener', (one) => one.delivered)
    this.#tallied('delivered_bytes_total', 'Bytes that were written for them', (one) => one.deliveredBytes)
    this.#timed('publish_duration_seconds', 'From publish() until the adapter has the event', (one) => one.publish)
    this.#timed('delivery_duration_seconds',
      "From an event's id, by the clock that gave it, to the last listener's write", (one) => one.delivery)
    this.#timed('fanout_duration_seconds',
      "From when this node knows of an event to the last listener's write", (one) => one.fanOut)
  }

  /** These are counted elsewhere, and read when the metrics are collected. */
  #addStats (): void {
    const { realtime } = this.#options
    const connections = this.#gauge('connections', 'Connections now', ['wire'], () => {
      for (const wire of WIRES) connections.set({ wire }, this.#stats.value.connections[wire])
    })
    const subscriptions = this.#gauge('subscriptions', 'Topics that clients listen to now', ['topic'], () => {
      const counts = this.#stats.value.subscriptionsByPattern
      for (const [topic, count] of Object.entries(counts)) subscriptions.set({ topic }, count)
    })
    this.#shown('topics', 'Topics with a listener', ({ topics }) => topics)
    this.#shown('arriving_connections', 'Connections that are being opened', ({ arriving }) => arriving)
    this.#shown('closing_connections', 'Connections closed by this node and not gone yet', ({ closing }) => closing)
    this.#shown('history_bytes', 'Bytes of recent events kept on this node', ({ ringBytes }) => ringBytes)
    this.#shown('buffered_bytes', 'Bytes that wait for clients to read', () =>
      realtime.connections().reduce((sum, { buffered }) => sum + buffered, 0))
    this.#summed('replayed_total', 'Events given to clients that caught up', ({ replayed }) => replayed)
    this.#summed('refused_total', 'Clients that were refused', ({ refused }) => refused)
    this.#summed('expired_total', 'Topics and connections that ended because a right expired', ({ expired }) => expired)
    this.#summed('rate_limited_total', 'Messages dropped by a rate limit', ({ rateLimited }) => rateLimited)
    this.#summed('ignored_total', 'Messages of other nodes that were not understood', ({ ignored }) => ignored)
  }

  /** Removes its metrics from the registry. */
  remove (): void {
    const { register } = this.#options
    // The app may have cleared the registry and registered others under these names.
    for (const [name, made] of this.#made) {
      if (register.getSingleMetric(name) === made) register.removeSingleMetric(name)
    }
  }

  #shown (name: string, help: string, of: (stats: RealtimeStats) => number): void {
    const gauge = this.#gauge(name, help, [], () => gauge.set(of(this.#stats.value)))
  }

  #summed (name: string, help: string, of: (stats: RealtimeStats) => number): void {
    const counter: Counter = this.#add(this.#client.Counter, name, help, [], () => {
      counter.reset()
      counter.inc(of(this.#stats.value))
    })
  }

  #counter (name: string, help: string, labels: string[]): Counter {
    return this.#add(this.#client.Counter, name, help, labels)
  }

  #gauge (name: string, help: string, labels: string[], collect?: () => void): Gauge {
    return this.#add(this.#client.Gauge, name, help, labels, collect)
  }

  #tallied (name: string, help: string, of: (tally: Tally) => number): void {
    const counter: Counter = this.#add(this.#client.Counter, name, help, ['topic'], () => {
      clear()
      for (const [topic, tally] of this.tallies.all) counter.inc({ topic }, of(tally))
    })
    const clear = counter.reset.bind(counter)
    // After the app has reset its metrics (`register.resetMetrics()`), old counts must not come back.
    Object.assign(counter, { reset: () => this.tallies.forget() })
  }

  /** A histogram whose values come from the tallies. */
  #timed (name: string, help: string, of: (tally: Tally) => Durations): void {
    const full = this.#options.prefix + name
    const histogram: Histogram = this.#add(this.#client.Histogram, name, help, ['topic'])
    const empty = histogram.get()
    const get: Histogram['get'] = async () => {
      const all = [...this.tallies.all]
      return { ...await empty, values: all.flatMap(([topic, tally]) => valuesOf(of(tally), topic, full)) }
    }
    // The registry calls one or the other.
    Object.assign(histogram, { get, getForPromString: get, reset: () => this.tallies.forget() })
  }

  #add<T extends Metric> (
    Made: new (options: never) => T, name: string, help: string, labelNames: string[], collect?: () => void
  ): T {
    const { register, prefix, buckets } = this.#options
    const full = prefix + name
    if (register.getSingleMetric(full)) {
      this.remove()
      throw new OptionInvalid('prefix', `is taken: the registry already has "${full}". Give this app another prefix`)
    }
    const options = { name: full, help, labelNames, registers: [register], ...collect && { collect } }
    const made = new Made((Made === this.#client.Histogram ? { ...options, buckets } : options) as never)
    this.#made.set(full, made)
    return made
  }
}

type Values = Awaited<ReturnType<Histogram['get']>>['values']

/** Buckets as the text format has them: each one includes those before it. */
function valuesOf ({ bounds, counts, sum }: Durations, topic: string, name: string): Values {
  let count = 0
  const buckets = counts.map((inThis, i) => {
    count += inThis
    return { labels: { le: bounds[i] ?? '+Inf', topic }, value: count, metricName: `${name}_bucket` }
  })
  return [
    ...buckets,
    { labels: { topic }, value: sum, metricName: `${name}_sum` },
    { labels: { topic }, value: count, metricName: `${name}_count` }
  ]
}
