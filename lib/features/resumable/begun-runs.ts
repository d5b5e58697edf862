/**
 * Runs that a client begins anew under one key (`start: 'POST'`): the last one begun is the present one, and those
 * before it are over. Which one that is says the last event of a topic of the key's own, which all nodes read alike. A
 * run is named by its key and a mark, so that each has a topic and an owner of its own.
 *
 * Two may begin at once, on two nodes. Each stops those that it finds before its own; one whose source is not open yet,
 * which no order finds, sees before it opens that another one is the present.
 */
import type { Retention } from '../../core/adapter.ts'
import { randomId } from '../../core/id.ts'
import { DeclaredTopic, type TopicAt } from '../../core/topics/topic.ts'
import type { RunsHost } from './host.ts'
import { PRESENT_PATTERN, runOf, type RunParams } from './names.ts'
import { RUNNING_MS, type OpenRun, type Runs, type RunSettings } from './runs.ts'

/** A key, as routes of its space name it. */
export interface RunKey { readonly space: string, readonly key: string }

/** So many may begin under one key before the first of them is found to be over. */
const KEPT = 32
const PAGE = { count: KEPT, bytes: 1 << 16 }
const RETENTION: Retention = { limit: KEPT, maxAge: RUNNING_MS, maxBytes: PAGE.bytes }

export class BegunRuns {
  readonly #host: RunsHost
  readonly #runs: Runs
  #topic: DeclaredTopic | undefined

  constructor (host: RunsHost, runs: Runs) {
    this.#host = host
    this.#runs = runs
  }

  /** The next run of this key. Those before it are stopped, on whichever nodes. */
  async begin (key: RunKey): Promise<TopicAt> {
    const mark = randomId()
    const options = { retention: RETENTION, format: 'text', lifetime: RUNNING_MS } as const
    await this.#host.publisher.append(this.#name(key), 'begun', Buffer.from(mark), options)
    const marks = await this.#marks(key)
    const before = marks.slice(0, Math.max(0, marks.indexOf(mark)))
    await Promise.all(before.map(async (one) => await this.#runs.stop(runWith(key, one))))
    return this.#runs.at(runWith(key, mark))
  }

  /** Starts the source of a run that was begun, unless another one has begun since. */
  async ensure (key: RunKey, at: TopicAt, settings: RunSettings, open: OpenRun): Promise<void> {
    await this.#runs.ensure(at, settings, async (signal) => {
      const present = await this.present(key)
      if (present !== undefined && this.#runs.at(present).name === at.name) return await open(signal)
      this.#runs.stopHere(at.params as RunParams & Record<string, string>)
      return []
    })
  }

  /** Undefined where none was begun, or the last one is forgotten. */
  async present (key: RunKey): Promise<RunParams | undefined> {
    const mark = (await this.#marks(key)).at(-1)
    return mark === undefined ? undefined : runWith(key, mark)
  }

  /** Stops the present run of a key, on whichever node. True when one runs. */
  async stop (key: RunKey): Promise<boolean> {
    const run = await this.present(key)
    return run !== undefined && await this.#runs.stop(run)
  }

  /** The oldest first. */
  async #marks (key: RunKey): Promise<string[]> {
    const { events } = await this.#host.adapter.read(this.#name(key), null, PAGE)
    return events.map(({ data }) => Buffer.from(data).toString())
  }

  #name ({ space, key }: RunKey): string {
    this.#topic ??= new DeclaredTopic(this.#host, PRESENT_PATTERN, {
      retention: RETENTION,
      schemas: undefined,
      events: undefined,
      authorize: undefined,
      snapshot: undefined,
      validate: false
    }, 'reserved')
    return this.#topic.name({ ...runOf(space, key) })
  }
}

/** A mark has no space in it, so no key can be taken for another's. */
function runWith ({ space, key }: RunKey, mark: string): RunParams {
  return runOf(space, `${mark} ${key}`)
}
