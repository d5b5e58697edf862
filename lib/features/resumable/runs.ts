/**
 * Resumable sources. What a source yields goes into a topic of its own. So a client that asks again, on any node, gets
 * what was said and then the rest, and the source runs only once.
 *
 * A run's log starts at its oldest event, and ends with `realtime:end` or `realtime:aborted`. It is kept whole for
 * `maxAge` after the last event, and then dropped whole, because a log without its front would be a cut answer.
 *
 * The node that runs it owns the topic by a lease, without which it cannot append. If the lease ends before the run
 * does, a node with a listener takes the run over, only to say `realtime:aborted`. If the run has said nothing, nothing
 * is kept, and the next request starts it anew.
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
  /** Bytes of data of one run. Above it the run is aborted. */
  readonly maxBytes: number
  /** `data`: the source yields the data itself, not events. */
  readonly yields?: Yields
}

export type OpenRun = (signal: AbortSignal) => MaybePromise<Events<RunEvent>>

type RunReader = SourceReader<RunEvent, Told>

type End = {
  name: 'realtime:end' | 'realtime:aborted'
  reason: 'done' | 'stopped' | 'failed' | 'too-large' | 'closing' | 'node-lost'
}

/** How long a silent run is kept, ms. It is so long because the end of a run always follows. */
export const RUNNING_MS = 86_400_000
const MAX_EVENTS = 1_000_000

interface Run {
  readonly at: TopicAt
  /** Aborted in the async context of the request that started the run. */
  readonly abort: AbortController
  readonly origin: ReturnType<typeof keepContext>
  readonly opened: Promise<void>
  end: End | undefined
  /** Resolves when the end is stored, or cannot be. Undefined until the source is open. */
  ended: Promise<void> | undefined
}

export class Runs {
  readonly spaces = new RunSpaces()
  readonly #host: RunsHost
  readonly #leases: Leases
  readonly #running = new Map<string, Run>()
  /** Runs that are reserved and not running yet, with the end that was ordered meanwhile. */
  readonly #reserved = new Map<string, End | undefined>()
  /** Runs that clients of this node have asked for. If the node of a run is lost, this node ends it. */
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
   * takes long. What the source throws before that is thrown to all callers that wait.
   */
  async ensure (at: TopicAt, settings: RunSettings, open: OpenRun): Promise<void> {
    this.follow(at, settings)
    const running = this.#running.get(at.name)
    if (running) return await running.opened
    const abort = new AbortController()
    const end = this.#reserved.get(at.name)
    if (end) abort.abort()
    const opened = this.#open(at, settings, open, abort)
    // This comes before any await, so that the next caller finds the run.
    this.#running.set(at.name, { at, abort, origin: keepContext(), opened, end, ended: undefined })
    this.#reserved.delete(at.name)
    try {
      await opened
    } catch (error) {
      this.#running.delete(at.name)
      throw error
    }
  }

  /** Adds a check that runs each time that leases are renewed. */
  alsoCheck (check: () => Promise<unknown>): void {
    this.#checks.push(check)
  }

  runsHere (name: string): boolean {
    return this.#running.has(name) || this.#reserved.has(name)
  }

  /** Makes the run count as running before its source is open, until `ensure` or `leave`. */
  async reserve ({ name }: TopicAt): Promise<void> {
    this.#reserved.set(name, undefined)
    await this.#leases.claim(name)
  }

  /** Ends the reservation, because the run will not start. */
  async leave (at: TopicAt): Promise<void> {
    // If this fails, the lease ends by itself.
    if (this.#reserved.delete(at.name)) await this.#giveBack(at).catch(() => {})
  }

  /** A client of this node listens to the run, which may run on any node. @throws Closed */
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
      // If this fails too, the lease ends by itself.
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

  /** True if the run has events already. If they have no end and the run's node is lost, the end is stored now. */
  async #begun (at: TopicAt, settings: RunSettings): Promise<boolean> {
    if (!await isKept(this.#host.adapter, at.name)) return false
    await this.#takeOver(at, settings)
    return true
  }

  /** True if nothing follows `cursor` now or later. */
  async over (at: TopicAt, cursor: EventId): Promise<boolean> {
    if (this.runsHere(at.name)) return false
    const { linked, events } = await this.#host.adapter.read(at.name, cursor, { count: 1, bytes: 1 })
    if (!linked || events.length > 0) return false
    return !isHeld(await this.#leases.holder(at.name))
  }

  /** The state of the run. If it has no end and its node is lost, the end is stored now. */
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

  /** Stops the run on its node. True if it runs. */
  async stop (run: RunParams): Promise<boolean> {
    if (this.stopHere(run)) return true
    if (await this.#leases.holder(this.at(run).name) !== 'elsewhere') return false
    await this.#host.node.order({ op: 'stop', ...run })
    return true
  }

  /**
   * Threat: a writer to the adapter's server can send anything. A node of the version before gives no space, and none
   * of its runs is ours.
   */
  #readStop ({ space, key }: Members): (() => void) | undefined {
    if (!isText(key) || !(space === undefined || isText(space))) return undefined
    return () => { if (space !== undefined) this.stopHere({ space, key }) }
  }

  /** True if the run was on this node. */
  stopHere (run: RunParams): boolean {
    return this.#stop(this.at(run).name, { name: 'realtime:end', reason: 'stopped' })
  }

  /**
   * The node closes, and its sources end. Resolves when the local topics have these ends, so that listeners can be
   * told.
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
    // The source is not awaited: if it ignores its signal, it must not delay the end.
    if (reason.reason !== 'done') abort.abort()
    // After `node-lost` another node has taken the run over, and has stored its end.
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

  /** Looks after a run of another node. If its lease has ended without an end of the run, this node stores the end. */
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
   * The run, or its node, failed before its first event. Local clients that wait for it are told to ask again, which
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
