/**
 * Resumable sources: what a source yields goes into a topic of its own, so that whoever asks again, on any node, gets
 * what was said and then the rest, and the source runs once.
 *
 * A run's log starts at its oldest event, and ends with `realtime:end` or `realtime:aborted`. It is kept whole, for
 * `maxAge` after the last event, and then forgotten whole: a trimmed front would be a cut answer.
 *
 * The node that runs it owns the topic by a lease, without which it can append nothing. When the lease ends before the
 * run does, whichever node has a listener takes it over, only to say `realtime:aborted`. Of a run that has said
 * nothing, nothing is kept: whoever asks next starts it anew.
 */
import type { AppendOptions, Format, EventId, Retention } from '../../core/adapter.ts'
import { inNobodysName, keepContext } from '../../core/async-context.ts'
import { sourceFailed } from '../../core/close-reasons.ts'
import { isText, type Members } from '../../core/cluster/orders.ts'
import { ABORTED } from '../../core/event.ts'
import type { MaybePromise } from '../../core/maybe-promise.ts'
import { SourceReader, type Events, type Step } from '../../core/source-reader.ts'
import type { DeclaredTopic, TopicAt } from '../../core/topics/topic.ts'
import type { RunsHost } from './host.ts'
import { isHeld, LEASE_TICK_MS, Leases } from './lease.ts'
import { RUN_PATTERN, RunSpaces, type RunParams } from './names.ts'
import { reservedTopic } from './reserved-topic.ts'
import { endingOf, isKept, lastKept, type RunState } from './states.ts'
import { encodeYielded, type RunEvent, type Told, type Yields } from './yielded.ts'
import { Closed, NotOwner } from '../../errors.ts'

export interface RunSettings {
  /** How long an ended run is kept, ms. */
  readonly maxAge: number
  /** Bytes of data of one run; past it, it is aborted. */
  readonly maxBytes: number
  /** `data`: what its source yields is the data itself, and no event. */
  readonly yields?: Yields
}

export type OpenRun = (signal: AbortSignal) => MaybePromise<Events<RunEvent>>

type RunReader = SourceReader<RunEvent, Told>

type End = {
  name: 'realtime:end' | 'realtime:aborted'
  reason: 'done' | 'stopped' | 'failed' | 'too-large' | 'closing' | 'node-lost'
}

/** A run may be silent for so long before it is forgotten: its end always follows. */
export const RUNNING_MS = 86_400_000
const MAX_EVENTS = 1_000_000

interface Run {
  readonly at: TopicAt
  /** Aborted in the context of the request that started it. */
  readonly abort: AbortController
  readonly origin: ReturnType<typeof keepContext>
  readonly opened: Promise<void>
  end: End | undefined
  /** Its end is stored, or cannot be. Undefined until its source is open. */
  ended: Promise<void> | undefined
}

export class Runs {
  readonly spaces = new RunSpaces()
  readonly #host: RunsHost
  readonly #leases: Leases
  readonly #running = new Map<string, Run>()
  /** Reserved, and not running yet, each with the end that was ordered meanwhile. */
  readonly #reserved = new Map<string, End | undefined>()
  /** Runs that were asked for here, wherever they run. This node looks after them when theirs is lost. */
  readonly #followed = new Map<string, RunSettings>()
  readonly #checks: Array<() => Promise<unknown>> = []
  #topic: DeclaredTopic | undefined
  #tick: NodeJS.Timeout | undefined
  #looking = false
  #closed = false

  constructor (host: RunsHost) {
    this.#host = host
    this.#leases = new Leases(host.adapter, host.node.name)
    host.node.obey('stop', (said) => this.#readStop(said))
  }

  /** The topic of a run. Its pattern is reserved: no client can name it. */
  at ({ space, key }: RunParams): TopicAt {
    const retention = { limit: MAX_EVENTS, maxAge: RUNNING_MS, maxBytes: Number.MAX_SAFE_INTEGER }
    this.#topic ??= reservedTopic(this.#host, RUN_PATTERN, { retention, whole: true })
    return this.#topic.at({ space, key })
  }

  /**
   * Starts the source, unless it runs or its events are still kept. Resolves when the source has said something, or
   * takes long to do so; what it throws until then is thrown to all who wait for it.
   */
  async ensure (at: TopicAt, settings: RunSettings, open: OpenRun): Promise<void> {
    this.follow(at, settings)
    const running = this.#running.get(at.name)
    if (running) return await running.opened
    const abort = new AbortController()
    const end = this.#reserved.get(at.name)
    if (end) abort.abort()
    const opened = this.#open(at, settings, open, abort)
    // Before anything is awaited, so that the next to ask finds it.
    this.#running.set(at.name, { at, abort, origin: keepContext(), opened, end, ended: undefined })
    this.#reserved.delete(at.name)
    try {
      await opened
    } catch (error) {
      this.#running.delete(at.name)
      throw error
    }
  }

  /** Checks again and again, as often as leases are renewed. */
  alsoCheck (check: () => Promise<unknown>): void {
    this.#checks.push(check)
  }

  runsHere (name: string): boolean {
    return this.#running.has(name) || this.#reserved.has(name)
  }

  /** From now on it runs, for whoever asks, though its source is not open. Until `ensure`, or `leave`. */
  async reserve ({ name }: TopicAt): Promise<void> {
    this.#reserved.set(name, undefined)
    await this.#leases.claim(name)
  }

  /** It is not going to run. */
  async leave (at: TopicAt): Promise<void> {
    // Should that fail, its lease ends by itself.
    if (this.#reserved.delete(at.name)) await this.#giveBack(at).catch(() => {})
  }

  /** Somebody here listens to the run, wherever it runs. @throws Closed */
  follow (at: TopicAt, settings: RunSettings): void {
    if (this.#closed) throw new Closed()
    this.#followed.set(at.name, settings)
    this.#tick ??= inNobodysName(() => setInterval(() => this.#look(), LEASE_TICK_MS).unref())
  }

  async #open (at: TopicAt, settings: RunSettings, open: OpenRun, abort: AbortController): Promise<void> {
    if (!await this.#leases.claim(at.name)) {
      this.#running.delete(at.name)
      return
    }
    try {
      if (await this.#begun(at, settings)) {
        this.#running.delete(at.name)
        return
      }
      const { signal } = abort
      const reader = new SourceReader({
        open: () => open(signal),
        encode: (value: RunEvent) => encodeYielded(value, at.name, settings.yields, this.#host.maxEventBytes),
        signal,
        log: this.#host.log
      })
      this.#goOn(at, settings, reader, await reader.first(), abort)
    } catch (error) {
      // Should that fail too, its lease ends by itself.
      await this.#giveBack(at).catch(() => {})
      throw error
    }
  }

  #goOn (
    at: TopicAt, settings: RunSettings, reader: RunReader, first: Step<Told> | undefined, abort: AbortController
  ): void {
    const ended = this.#run(at, settings, reader, first, abort).catch((error: unknown) => {
      this.#host.log.error({ err: error, topic: at.name }, 'realtime: the end of a source could not be stored')
    }).finally(() => this.#running.delete(at.name))
    const run = this.#running.get(at.name)
    if (run) run.ended = ended
  }

  /** True when the run has said something already, all of it or a part. A part whose node is lost gets its end now. */
  async #begun (at: TopicAt, settings: RunSettings): Promise<boolean> {
    if (!await isKept(this.#host.adapter, at.name)) return false
    await this.#takeOver(at, settings)
    return true
  }

  /** True when nothing follows `cursor` and nothing ever will. */
  async over (at: TopicAt, cursor: EventId): Promise<boolean> {
    if (this.runsHere(at.name)) return false
    const { linked, events } = await this.#host.adapter.read(at.name, cursor, { count: 1, bytes: 1 })
    if (!linked || events.length > 0) return false
    return !isHeld(await this.#leases.holder(at.name))
  }

  /** What there is of it. A part whose node is lost gets its end now. */
  async state (at: TopicAt, settings: RunSettings): Promise<RunState> {
    if (this.runsHere(at.name)) return 'runs'
    const holder = await this.#leases.holder(at.name)
    if (isHeld(holder)) return 'runs'
    if (holder !== 'nobody') return await isKept(this.#host.adapter, at.name) ? holder : 'nothing'
    const last = await lastKept(this.#host.adapter, at.name)
    if (last === undefined) return 'nothing'
    const ending = endingOf(last)
    if (ending === undefined && await this.#leases.claim(at.name)) await this.#takeOver(at, settings)
    return ending ?? 'broken-off'
  }

  /** Stops the run, on whichever node. True when it runs at all. */
  async stop (run: RunParams): Promise<boolean> {
    if (this.stopHere(run)) return true
    if (await this.#leases.holder(this.at(run).name) !== 'elsewhere') return false
    await this.#host.node.order({ op: 'stop', ...run })
    return true
  }

  /**
   * Threat: whoever may write to the adapter's server can say anything. A node of the version before gives no space,
   * and has no run of ours.
   */
  #readStop ({ space, key }: Members): (() => void) | undefined {
    if (!isText(key) || !(space === undefined || isText(space))) return undefined
    return () => { if (space !== undefined) this.stopHere({ space, key }) }
  }

  /** True when it ran here. */
  stopHere (run: RunParams): boolean {
    return this.#stop(this.at(run).name, { name: 'realtime:end', reason: 'stopped' })
  }

  /**
   * The node closes, and its sources end with it. Resolves when their ends are in their topics here, so that the
   * listeners can be told.
   */
  closing (): Promise<unknown> | undefined {
    this.#closed = true
    clearInterval(this.#tick)
    const runs = [...this.#running.values()]
    for (const { at } of runs) this.#stop(at.name, { name: 'realtime:aborted', reason: 'closing' })
    return runs.length === 0 ? undefined : Promise.all(runs.map(async (run) => await this.#told(run)))
  }

  async #told (run: Run): Promise<void> {
    await run.opened.catch(() => {})
    await run.ended
    const { at } = run
    const topic = this.#host.active.get(at.name)
    if (topic && !topic.ending) await topic.log?.repair()
  }

  #stop (name: string, end: End): boolean {
    const run = this.#running.get(name)
    if (!run) return this.#stopReserved(name, end)
    run.end ??= end
    run.origin.runInAsyncScope(() => run.abort.abort())
    return true
  }

  #stopReserved (name: string, end: End): boolean {
    if (!this.#reserved.has(name)) return false
    this.#reserved.set(name, this.#reserved.get(name) ?? end)
    return true
  }

  async #run (
    at: TopicAt, settings: RunSettings, reader: RunReader, first: Step<Told> | undefined, abort: AbortController
  ): Promise<void> {
    const end = await this.#pull(at, settings, reader, first)
    const reason = this.#running.get(at.name)?.end ?? end
    // The source is not waited for: one that does not listen to its signal must not hold the end back.
    if (reason.reason !== 'done') abort.abort()
    // Another node has taken it over, and has said so.
    if (reason.reason !== 'node-lost') await this.#end(at, settings, reason)
  }

  async #end (at: TopicAt, settings: RunSettings, { name, reason }: End): Promise<void> {
    await this.#append(at, name, Buffer.from(JSON.stringify({ reason })), 'json', settings.maxAge)
    await this.#leases.end(at.name, name === ABORTED ? 'broken-off' : 'ended', settings.maxAge)
  }

  async #pull (at: TopicAt, settings: RunSettings, reader: RunReader, first: Step<Told> | undefined): Promise<End> {
    let bytes = 0
    try {
      for (let step = first ?? await reader.next(); !step.done; step = await reader.next()) {
        const { name, data, format } = step.value
        bytes += data.byteLength
        if (bytes > settings.maxBytes) return { name: 'realtime:aborted', reason: 'too-large' }
        await this.#append(at, name, data, format, RUNNING_MS)
      }
      return { name: 'realtime:end', reason: 'done' }
    } catch (error) {
      this.#host.log.error({ err: error, topic: at.name }, 'realtime: a source failed')
      return { name: 'realtime:aborted', reason: error instanceof NotOwner ? 'node-lost' : 'failed' }
    }
  }

  async #append (at: TopicAt, name: string, data: Uint8Array, format: Format, lifetime: number): Promise<void> {
    const options: AppendOptions = { retention: at.topic.retention as Retention, format, lifetime }
    if (this.#leases.owner !== undefined) options.owner = this.#leases.owner
    await this.#host.publisher.append(at.name, name, data, options)
  }

  // --- leases ----------------------------------------------------------------

  #look (): void {
    if (this.#looking) return
    this.#looking = true
    this.#renewAndReap().catch(() => {}).finally(() => { this.#looking = false })
  }

  async #renewAndReap (): Promise<void> {
    const running = [...this.#running.keys(), ...this.#reserved.keys()].map(async (name) => { await this.#renew(name) })
    const followed = [...this.#followed].map(async ([name, settings]) => { await this.#follow(name, settings) })
    await Promise.allSettled([...running, ...followed, ...this.#checks.map(async (check) => await check())])
  }

  async #renew (name: string): Promise<void> {
    if (!await this.#leases.claim(name)) this.#stop(name, { name: 'realtime:aborted', reason: 'node-lost' })
  }

  /** Looks after a run of another node: when its lease has ended and its end was never said, this node says it. */
  async #follow (name: string, settings: RunSettings): Promise<void> {
    if (this.runsHere(name)) return
    const topic = this.#host.active.get(name)
    if (!topic || topic.ending) {
      this.#followed.delete(name)
      return
    }
    if (await this.#leases.holder(name) !== 'nobody') return
    const at = this.#topic?.at(topic.params)
    if (at && await this.#leases.claim(name)) await this.#takeOver(at, settings)
  }

  /** This node owns the run now, and has never run it. */
  async #takeOver (at: TopicAt, settings: RunSettings): Promise<void> {
    const last = await lastKept(this.#host.adapter, at.name)
    if (last === undefined) return await this.#giveBack(at)
    const ending = endingOf(last)
    if (ending) await this.#leases.end(at.name, ending, settings.maxAge)
    else await this.#end(at, settings, { name: 'realtime:aborted', reason: 'node-lost' })
  }

  /**
   * The run, or its node, failed before it had said anything. Those who wait for it here are told to ask again, which
   * starts it anew.
   */
  async #giveBack (at: TopicAt): Promise<void> {
    try {
      await this.#leases.giveBack(at.name)
    } finally {
      this.#host.active.get(at.name)?.sendAway(sourceFailed)
    }
  }
}
