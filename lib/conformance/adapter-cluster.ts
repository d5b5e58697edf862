/** The nodes of one log under trial, what they tell, and how the trials write to them. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Adapter, AppendOptions, EphemeralEvent, EventId, LogEvent, Sink } from '../core/adapter.ts'
import type { Checks } from './trial.ts'

/**
 * Makes the nodes of one log, not started. Each trial starts them, publishes on the first, listens on all, and closes
 * them. Undo what you made for them by `t.teardown(end)`.
 */
export type MakeNodes = (t: Checks) => Adapter[] | Promise<Adapter[]>

export type Elapse = (t: Checks, ms: number) => Promise<void>

export const SHAPE = /^\d{1,16}-\d{1,10}\.[A-Za-z0-9_-]+$/
export const ALL = { count: 10_000, bytes: 64 << 20 }
export const RETENTION = { limit: 1000, maxAge: 60_000, maxBytes: 8 << 20 }
const OPTIONS: AppendOptions = { retention: RETENTION, format: 'json' }
const GIVE_UP_MS = 10_000

/** What an adapter has told its hub. */
export class RecordingSink implements Sink {
  readonly events: Array<{ topic: string, event: LogEvent }> = []
  readonly ephemerals: Array<{ topic: string, event: EphemeralEvent }> = []
  #look: Array<() => void> = []

  event (topic: string, event: LogEvent): void {
    this.events.push({ topic, event })
    for (const look of [...this.#look]) look()
  }

  ephemeral (topic: string, event: EphemeralEvent): void {
    this.ephemerals.push({ topic, event })
    for (const look of [...this.#look]) look()
  }

  suspect (): void {}
  state (): void {}

  of (topic: string): LogEvent[] {
    return this.events.filter((one) => one.topic === topic).map(({ event }) => event)
  }

  until (what: string, holds: () => boolean): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`the sink never heard of ${what}`)), GIVE_UP_MS)
      const look = (): void => {
        if (!holds()) return
        clearTimeout(timer)
        this.#look = this.#look.filter((one) => one !== look)
        resolve()
      }
      this.#look.push(look)
      look()
    })
  }

  ids (topic: string, ids: readonly EventId[]): Promise<void> {
    return this.until(`${ids.length} events of ${topic}`, () => {
      const heard = new Set(this.of(topic).map(({ id }) => id))
      return ids.every((id) => heard.has(id))
    })
  }
}

export interface Cluster {
  nodes: Adapter[]
  sinks: RecordingSink[]
  node: Adapter
  sink: RecordingSink
  /** Lets so much of the adapter's time go by, ms. */
  elapse: (ms: number) => Promise<void>
}

/** Trials by their names. */
export type Story = Record<string, (t: Checks, cluster: Cluster) => Promise<void>>

export async function start (t: Checks, makeNodes: MakeNodes, elapse: Elapse): Promise<Cluster> {
  const nodes = await makeNodes(t)
  const sinks = nodes.map(() => new RecordingSink())
  await Promise.all(nodes.map((node, i) => node.start(sinks[i] as Sink)))
  t.teardown(() => Promise.all(nodes.map((node) => node.close())))
  return {
    nodes, sinks, node: nodes[0] as Adapter, sink: sinks[0] as RecordingSink, elapse: async (ms) => await elapse(t, ms)
  }
}

export const bytes = (text: string): Uint8Array => Buffer.from(text)
export const text = (event: { data: Uint8Array }): string => Buffer.from(event.data).toString()

export async function put (
  node: Adapter, topic: string, data: string, options: Partial<AppendOptions> = {}
): Promise<EventId> {
  return (await node.publish(topic, 'said', bytes(data), { ...OPTIONS, ...options })).id
}

/** One after the other. */
export async function putAll (
  node: Adapter, topic: string, count: number, options: Partial<AppendOptions> = {}
): Promise<EventId[]> {
  const ids: EventId[] = []
  for (let i = 0; i < count; i++) ids.push(await put(node, topic, String(i), options))
  return ids
}

/** So that others get their turns. */
export async function slowly (node: Adapter, topic: string, count: number): Promise<EventId[]> {
  const ids: EventId[] = []
  for (let i = 0; i < count; i++) {
    ids.push(await put(node, topic, String(i)))
    if (i % 5 === 0) await sleep(0)
  }
  return ids
}

export const subscribeAll = (nodes: Adapter[], topic: string): Promise<EventId[]> =>
  Promise.all(nodes.map((node) => node.subscribe(topic, true)))

/** The events in the order of their links, from `genesis`; a sink may hear them in any. */
export function chained (events: readonly LogEvent[], genesis: EventId): LogEvent[] {
  const byPrev = new Map(events.map((event) => [event.prev, event]))
  const chain: LogEvent[] = []
  for (let next = byPrev.get(genesis); next; next = byPrev.get(next.id)) chain.push(next)
  return chain
}

const order = (id: EventId): [number, number] => id.split('.')[0]?.split('-').map(Number) as [number, number]
export const rises = (before: EventId, after: EventId): boolean => {
  const [[ms, seq], [laterMs, laterSeq]] = [order(before), order(after)]
  return laterMs > ms || (laterMs === ms && laterSeq > seq)
}
