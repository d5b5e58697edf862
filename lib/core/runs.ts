/**
 * Resumable sources: what a source yields goes into a topic of its own, so that whoever asks again gets what was said
 * and then the rest, and the source runs once.
 *
 * A run's log starts at its oldest event, and ends with `realtime:end` or `realtime:aborted`. It is kept whole, for
 * `maxAge` after the last event, and then forgotten whole: a trimmed front would be a cut answer.
 */
import type { AppendOptions, Format, Id, Retention } from './adapter.ts'
import { checkEventName, printable } from './event.ts'
import type { Hub } from './hub.ts'
import { DeclaredTopic, type TopicAt } from './topic.ts'
import { EventDataInvalid, EventTooLarge } from '../errors.ts'

export const RUN_PATTERN = 'realtime:runs/:key'

export interface RunSettings {
  /** How long an ended run is kept, ms. */
  readonly maxAge: number
  /** Bytes of data of one run; past it, it is aborted. */
  readonly maxBytes: number
}

export interface RunEvent { event?: string, data?: unknown }
export type RunIterator = AsyncIterator<RunEvent> | Iterator<RunEvent>
export type OpenRun = (signal: AbortSignal) => Promise<RunIterator>

type End = { name: 'realtime:end' | 'realtime:aborted', reason: 'done' | 'stopped' | 'failed' | 'too-large' | 'closing' }

/** A run may be silent for so long before it is forgotten: its end always follows. */
const RUNNING_MS = 86_400_000
const MAX_EVENTS = 1_000_000

interface Run {
  readonly abort: AbortController
  readonly opened: Promise<void>
  end: End | undefined
}

export class Runs {
  readonly #hub: Hub
  readonly #running = new Map<string, Run>()
  #topic: DeclaredTopic | undefined

  constructor (hub: Hub) {
    this.#hub = hub
  }

  /** The topic of a key. Its pattern is reserved: no client can name it. */
  at (key: string, { maxBytes }: RunSettings): TopicAt {
    this.#topic ??= DeclaredTopic.reserved(this.#hub, this.#hub.topics, RUN_PATTERN, {
      retention: { limit: MAX_EVENTS, maxAge: RUNNING_MS, maxBytes: maxBytes * 2 },
      schemas: undefined,
      events: undefined,
      authorize: undefined,
      snapshot: undefined,
      validate: false,
      whole: true
    })
    return this.#topic.at({ key })
  }

  /** Starts the source, unless it runs or its events are still kept. What `open` throws is thrown to all who wait for it. */
  async ensure (at: TopicAt, settings: RunSettings, open: OpenRun): Promise<void> {
    const running = this.#running.get(at.name)
    if (running) return await running.opened
    const abort = new AbortController()
    const opened = this.#open(at, settings, open, abort)
    // Before anything is awaited, so that the next to ask finds it.
    this.#running.set(at.name, { abort, opened, end: undefined })
    try {
      await opened
    } catch (error) {
      this.#running.delete(at.name)
      throw error
    }
  }

  async #open (at: TopicAt, settings: RunSettings, open: OpenRun, abort: AbortController): Promise<void> {
    const { events } = await this.#hub.adapter.read(at.name, null, { count: 1, bytes: 1 })
    if (events.length > 0) {
      this.#running.delete(at.name)
      return
    }
    const iterator = await open(abort.signal)
    this.#run(at, settings, iterator, abort).catch((error: unknown) => {
      this.#hub.log.error({ err: error, topic: at.name }, 'realtime: the end of a source could not be stored')
    }).finally(() => this.#running.delete(at.name))
  }

  /** True when nothing follows `cursor` and nothing ever will. */
  async over (at: TopicAt, cursor: Id): Promise<boolean> {
    if (this.#running.has(at.name)) return false
    const { linked, events } = await this.#hub.adapter.read(at.name, cursor, { count: 1, bytes: 1 })
    return linked && events.length === 0
  }

  /** True when it ran here. */
  stop (key: string): boolean {
    const name = this.#topic?.at({ key }).name
    return this.#stop(name, { name: 'realtime:end', reason: 'stopped' })
  }

  /** The node goes: its sources go with it. */
  close (): void {
    for (const name of [...this.#running.keys()]) this.#stop(name, { name: 'realtime:aborted', reason: 'closing' })
  }

  #stop (name: string | undefined, end: End): boolean {
    const run = name === undefined ? undefined : this.#running.get(name)
    if (!run) return false
    run.end ??= end
    run.abort.abort()
    return true
  }

  async #run (at: TopicAt, settings: RunSettings, iterator: RunIterator, abort: AbortController): Promise<void> {
    const stopped = new Promise<{ done: true, value: undefined }>((resolve) => {
      abort.signal.addEventListener('abort', () => resolve({ done: true, value: undefined }), { once: true })
    })
    const end = await this.#pull(at, settings, iterator, stopped)
    const reason = this.#running.get(at.name)?.end ?? end
    // Not waited for: a source that does not listen to its signal must not hold the end back.
    if (reason.reason !== 'done') Promise.resolve(iterator.return?.()).catch((error: unknown) => this.#failed(at, error))
    await this.#append(at, reason.name, Buffer.from(JSON.stringify({ reason: reason.reason })), 'json', settings.maxAge)
  }

  async #pull (at: TopicAt, settings: RunSettings, iterator: RunIterator, stopped: Promise<{ done: true, value: undefined }>): Promise<End> {
    let bytes = 0
    try {
      for (;;) {
        const result = await Promise.race([stopped, iterator.next()])
        if (result.done) return { name: 'realtime:end', reason: 'done' }
        const { name, data, format } = this.#encode(at, result.value)
        bytes += data.byteLength
        if (bytes > settings.maxBytes) return { name: 'realtime:aborted', reason: 'too-large' }
        await this.#append(at, name, data, format, RUNNING_MS)
      }
    } catch (error) {
      this.#failed(at, error)
      return { name: 'realtime:aborted', reason: 'failed' }
    }
  }

  #encode (at: TopicAt, value: RunEvent): { name: string, data: Uint8Array, format: Format } {
    if (typeof value !== 'object' || value === null) throw new EventDataInvalid(at.name, 'message', `yielded ${printable(value)}, not an event like { event, data }`)
    const { event: name = 'message', data } = value
    checkEventName(name)
    const encoded = encode(data)
    const { maxEventBytes } = this.#hub.settings
    if (encoded.data.byteLength > maxEventBytes) throw new EventTooLarge(`topic "${at.name}", event "${name}"`, encoded.data.byteLength, maxEventBytes)
    return { name, ...encoded }
  }

  async #append (at: TopicAt, name: string, data: Uint8Array, format: Format, lifetime: number): Promise<void> {
    const options: AppendOptions = { retention: at.topic.retention as Retention, format, lifetime }
    await this.#hub.append(at.name, name, data, options)
  }

  #failed (at: TopicAt, error: unknown): void {
    this.#hub.log.error({ err: error, topic: at.name }, 'realtime: a source failed')
  }
}

function encode (data: unknown): { data: Uint8Array, format: Format } {
  if (data instanceof Uint8Array) return { data: Uint8Array.prototype.slice.call(data), format: 'binary' }
  if (typeof data === 'string') return { data: Buffer.from(data), format: 'text' }
  return { data: Buffer.from(JSON.stringify(data) ?? 'null'), format: 'json' }
}
