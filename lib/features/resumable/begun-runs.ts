/**
 * Runs that a client begins anew under one key (`start: 'POST'`): the last one begun is the present one, and those
 * before it are over. Which one that is says the last event of a topic of the key's own, which all nodes read alike. A
 * run is named by its key and a mark, so that each has a topic and an owner of its own.
 *
 * Each is appended behind the one that was the present, and behind no other: so each run has one successor, which stops
 * it. No order finds a run whose source is not open yet: it looks by itself before it opens. And a node looks again as
 * often as it renews its leases, since a successor may have died before it stopped anybody, and an adapter that is
 * short of room may have forgotten which run is the present.
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
/** Of those that begin at one moment one gets through each time. */
const MOST_TRIES = 200

/** One that this node has begun. */
export interface Begun { readonly key: RunKey, readonly mark: string, readonly at: TopicAt }

/** What stands last in a key's topic. `mark` is undefined where nothing does, or it is forgotten. */
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

  /** The next run of this key. The one before it is stopped, on whichever node. @throws Unavailable */
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

  /** Makes it the present one. It runs by then: a key never names a run that is yet to run. @throws Unavailable */
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

  /** It is begun, and not going to run: its client has left. */
  async leave ({ at }: Begun): Promise<void> {
    await this.#runs.leave(at)
  }

  /** Starts the source of a run that was begun, unless another one has begun since. */
  async ensure (begun: Begun, settings: RunSettings, open: OpenRun): Promise<void> {
    await this.#runs.ensure(begun.at, settings, async (signal) => {
      if (await this.#isPresent(begun)) return signal.aborted ? [] : await open(signal)
      this.#stopHere(begun)
      return []
    })
  }

  /** Undefined where none was begun, or the last one is over and forgotten. */
  async present (key: RunKey): Promise<RunParams | undefined> {
    const mark = (await this.#last(key)).mark ?? this.#markHere(key)
    return mark === undefined ? undefined : runWith(key, mark)
  }

  /** Stops the present run of a key, on whichever node. True when one runs. */
  async stop (key: RunKey): Promise<boolean> {
    const run = await this.present(key)
    return run !== undefined && await this.#runs.stop(run)
  }

  // --- which one is the present ----------------------------------------------------------

  /** True also where that is forgotten. */
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
    // Should another one have begun meanwhile, this is not appended.
    if (mark === undefined) await this.#append(begun.key, begun.mark, head)
    else if (mark !== begun.mark) this.#stopHere(begun)
  }

  #stopHere ({ key, mark }: Begun): void {
    this.#runs.stopHere(runWith(key, mark))
  }

  /** Of the run of a key that was begun here last, and still runs. */
  #markHere ({ space, key }: RunKey): string | undefined {
    const own = [...this.#begun].filter((begun) => begun.key.space === space && begun.key.key === key)
    return own.findLast(({ at }) => this.#runs.runsHere(at.name))?.mark
  }

  async #last (key: RunKey): Promise<Last> {
    const { head, events } = await this.#host.adapter.read(this.#name(key), null, PAGE)
    const last = events.find(({ id }) => id === head)
    return { head, mark: last && Buffer.from(last.data).toString() }
  }

  /** False where something else is the last by now. */
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

/** A mark has no space in it, so no key can be taken for another's. */
function runWith ({ space, key }: RunKey, mark: string): RunParams {
  return runOf(space, `${mark} ${key}`)
}
