/**
 * Runs that clients begin anew under one key (`start: 'POST'`). The last one begun is the present run; the runs before
 * it are over. The last event of a topic of the key says which one is present, so all nodes agree. A run is named by
 * its key and a mark, so each has its own topic and owner.
 *
 * Each run is appended only directly after the run that was present. So each run has one successor, which stops it. A
 * stop order does not find a run whose source is not open yet, so such a run checks before it opens. A node checks
 * again each time that it renews its leases, because a successor may have died before it stopped its predecessor, and
 * an adapter that is short of memory may have dropped the present run.
 */
import type { EventId, Retention } from '../../core/adapter.ts'
import { randomId } from '../../core/id.ts'
import type { DeclaredTopic, TopicAt } from '../../core/topics/topic.ts'
import type { RunsHost } from './host.ts'
import { PRESENT_PATTERN, runOf, type RunParams } from './names.ts'
import { reservedTopic } from './reserved-topic.ts'
import { RUNNING_MS, type OpenRun, type Runs, type RunSettings } from './runs.ts'
import { Conflict, Unavailable } from '../../errors.ts'

/** A key, as routes of its space name it. */
export interface RunKey { readonly space: string, readonly key: string }

const RETENTION: Retention = { limit: 8, maxAge: RUNNING_MS, maxBytes: 1 << 16 }
const PAGE = { count: 8, bytes: 1 << 16 }
/** Of the runs that begin at the same moment, one succeeds in each try. */
const MOST_TRIES = 200

/** A run that this node has begun. */
export interface Begun { readonly key: RunKey, readonly mark: string, readonly at: TopicAt }

/** The last event of a key's topic. `mark` is undefined if there is none, or it is not kept any more. */
interface Last { readonly head: EventId, readonly mark: string | undefined }

export class BegunRuns {
  readonly #host: RunsHost
  readonly #runs: Runs
  readonly #begun = new Set<Begun>()
  #topic: DeclaredTopic | undefined

  constructor (host: RunsHost, runs: Runs) {
    this.#host = host
    this.#runs = runs
    runs.alsoCheck(async () => await this.#check())
  }

  /** Begins the next run of this key. The run before it is stopped on its node. @throws Unavailable */
  async begin (key: RunKey): Promise<Begun> {
    const mark = randomId()
    const begun = { key, mark, at: this.#runs.at(runWith(key, mark)) }
    try {
      await this.#runs.reserve(begun.at)
      await this.#succeed(begun)
      return begun
    } catch (error) {
      await this.leave(begun)
      throw error
    }
  }

  /**
   * Makes the run the present one. It counts as running already, so a key never names a run that does not run yet.
   * @throws Unavailable
   */
  async #succeed (begun: Begun): Promise<void> {
    const { key, mark } = begun
    for (let tries = 0; tries < MOST_TRIES; tries++) {
      const last = await this.#last(key)
      if (!await this.#append(key, mark, last.head)) continue
      const before = last.mark ?? this.#markHere(key)
      if (before !== undefined) await this.#runs.stop(runWith(key, before))
      this.#begun.add(begun)
      return
    }
    throw new Unavailable('too many runs of one key are starting at the same time')
  }

  /** The run will not start, because its client has left. */
  async leave ({ at }: Begun): Promise<void> {
    await this.#runs.leave(at)
  }

  /** Starts the source of a run that was begun, unless another run has begun since. */
  async ensure (begun: Begun, settings: RunSettings, open: OpenRun): Promise<void> {
    await this.#runs.ensure(begun.at, settings, async (signal) => {
      if (await this.#isPresent(begun)) return signal.aborted ? [] : await open(signal)
      this.#stopHere(begun)
      return []
    })
  }

  /** The present run. Undefined if none was begun, or the last one is over and not kept any more. */
  async present (key: RunKey): Promise<RunParams | undefined> {
    const mark = (await this.#last(key)).mark ?? this.#markHere(key)
    return mark === undefined ? undefined : runWith(key, mark)
  }

  /** Stops the present run of a key on its node. True if one runs. */
  async stop (key: RunKey): Promise<boolean> {
    const run = await this.present(key)
    return run !== undefined && await this.#runs.stop(run)
  }

  // --- which one is the present ----------------------------------------------------------

  /** True also if no run is kept as present. */
  async #isPresent ({ key, mark }: Begun): Promise<boolean> {
    const last = await this.#last(key)
    return last.mark === undefined || last.mark === mark
  }

  async #check (): Promise<void> {
    for (const begun of this.#begun) {
      if (!this.#runs.runsHere(begun.at.name)) this.#begun.delete(begun)
    }
    await Promise.allSettled([...this.#begun].map(async (begun) => await this.#checkOne(begun)))
  }

  async #checkOne (begun: Begun): Promise<void> {
    const { head, mark } = await this.#last(begun.key)
    // If another run has begun meanwhile, this is not appended.
    if (mark === undefined) await this.#append(begun.key, begun.mark, head)
    else if (mark !== begun.mark) this.#stopHere(begun)
  }

  #stopHere ({ key, mark }: Begun): void {
    this.#runs.stopHere(runWith(key, mark))
  }

  /** The mark of the key's run that was begun here last, and still runs. */
  #markHere ({ space, key }: RunKey): string | undefined {
    const own = [...this.#begun].filter((begun) => begun.key.space === space && begun.key.key === key)
    return own.findLast(({ at }) => this.#runs.runsHere(at.name))?.mark
  }

  async #last (key: RunKey): Promise<Last> {
    const { head, events } = await this.#host.adapter.read(this.#name(key), null, PAGE)
    const last = events.find(({ id }) => id === head)
    return { head, mark: last && Buffer.from(last.data).toString() }
  }

  /** False if another event is the last one by now. */
  async #append (key: RunKey, mark: string, expect: EventId): Promise<boolean> {
    const options = { retention: RETENTION, format: 'text', lifetime: RUNNING_MS, expect } as const
    try {
      await this.#host.publisher.append(this.#name(key), 'begun', Buffer.from(mark), options)
      return true
    } catch (error) {
      if (error instanceof Conflict) return false
      throw error
    }
  }

  #name ({ space, key }: RunKey): string {
    this.#topic ??= reservedTopic(this.#host, PRESENT_PATTERN, { retention: RETENTION })
    return this.#topic.name({ ...runOf(space, key) })
  }
}

/** A mark has no space in it, so two pairs of key and mark never make the same name. */
function runWith ({ space, key }: RunKey, mark: string): RunParams {
  return runOf(space, `${mark} ${key}`)
}
