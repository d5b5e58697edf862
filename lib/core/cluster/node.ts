/**
 * This node among others. A node gives orders to all nodes: to end connections, to take topics from them, and what
 * features order. An order is an event of a reserved topic with history, which every node listens to. So a node that
 * was cut off gets the order by repair. If repair fails, every connection's topics are authorized again, and a
 * connection for which `authorize` cannot be asked is told to come back.
 */
import type { Adapter, EphemeralEvent, Format, EventId, LogEvent, Retention } from '../adapter.ts'
import type { AppLog } from '../callbacks.ts'
import { randomId } from '../id.ts'
import { TopicLog } from '../log/topic-log.ts'
import type { Observer } from '../observe.ts'
import { Counting } from './counting.ts'
import { readMembers, readOrder, type Members, type Order, type Target } from './orders.ts'
import { Revocations } from './revocations.ts'
import { Unavailable } from '../../errors.ts'

/** The reserved topic that every node listens to. */
export const CONTROL = 'realtime:control'
const NODE = 'realtime:node:'

const RETENTION: Retention = { limit: 10_000, maxAge: 600_000, maxBytes: 4 << 20 }

/** A connection, as orders see it. */
export interface Ordered {
  readonly id: string
  readonly identity: { readonly id: string }
  readonly closed: boolean
  /** How many orders were given before the connection's request arrived. */
  readonly since: number
  /** True if the connection listens to this topic, or is about to. */
  concerns (topic: string): boolean
  take (topic: string): void
  /** Ends the connection as soon as there is a wire that can tell the client. */
  condemn (reason: Ending): void
  closeFor (reason: Ending): void
  /** Checks the connection's rights again. `retry`: when the client should come back, if it must (ms). */
  judgeAnew (retry: number): void
}

/** What a client is told when its connection is ended. */
interface Ending { readonly code?: number, readonly text?: string, readonly reconnect?: boolean }

/** Reads an order of a feature. Returns what carries it out; undefined if the order is not understood. */
export type ReadOrder = (said: Members) => (() => void) | undefined

export interface NodeHost {
  readonly adapter: Adapter
  readonly observe: Observer
  readonly log: AppLog
  /** The connections on which orders are carried out. */
  readonly clients: ReadonlySet<Ordered>
  listenersHere (topic: string): number
  /** Orders of features may have been lost too. */
  resync (): void
  retryAfter (clients: number): number
}

export class Node {
  /** The name of this node. Each start has another. */
  readonly name = randomId()
  readonly counting: Counting
  readonly #host: NodeHost
  readonly #log: TopicLog
  readonly #revocations = new Revocations<Order>()
  readonly #features = new Map<string, ReadOrder>()

  constructor (host: NodeHost) {
    this.#host = host
    this.counting = new Counting({
      adapter: host.adapter,
      node: this.name,
      everybody: CONTROL,
      answersTo: (node) => NODE + node,
      listenersHere: (topic) => host.listenersHere(topic),
      ignored: () => this.#ignored()
    })
    this.#log = new TopicLog({
      append: ({ data, format }) => this.#heard(data, format),
      reset: () => this.#askAgain(),
      read: async (after, limits) => await host.adapter.read(CONTROL, after, limits),
      readFailed: () => {},
      repaired: () => {}
    }, RETENTION)
  }

  async start (): Promise<void> {
    const { adapter } = this.#host
    const [head] = await Promise.all([adapter.subscribe(CONTROL, true), adapter.subscribe(NODE + this.name, false)])
    this.#log.open(head, false)
  }

  close (): void {
    this.#log.close()
  }

  /** Orders whose `op` is this word are for the feature that calls this. */
  obey (op: string, read: ReadOrder): void {
    this.#features.set(op, read)
  }

  /** True for a topic that nodes use among themselves. */
  concerns (topic: string): boolean {
    return topic === CONTROL || topic === NODE + this.name
  }

  event (topic: string, event: LogEvent): void {
    if (topic === CONTROL) this.#log.deliver(event)
  }

  ephemeral (event: EphemeralEvent): void {
    this.counting.heard(event)
  }

  suspect (): void {
    this.#log.repair().catch(() => {})
  }

  /** Resolves when the order is given. Each node carries it out as soon as the order arrives. */
  async order (order: Order | Members): Promise<{ id: EventId }> {
    return await this.#host.adapter.publish(CONTROL, 'order', Buffer.from(JSON.stringify(order)), {
      retention: RETENTION, format: 'json'
    })
  }

  // --- obeying ---------------------------------------------------------------

  #heard (data: Uint8Array, format: Format): void {
    const said = readMembers(data, format)
    const order = said && readOrder(said)
    const act = order ? () => this.#carryOut(order) : said && this.#featureOf(said)?.(said)
    // The order comes from a newer node, or from something else that writes to this topic.
    if (!act) return this.#ignored()
    this.#guard(act)
  }

  #featureOf ({ op }: Members): ReadOrder | undefined {
    return typeof op === 'string' ? this.#features.get(op) : undefined
  }

  #ignored (): void {
    this.#host.observe.counts.ignored++
  }

  #carryOut (order: Order): void {
    this.#revocations.add(order)
    // Threat: a connection that cannot be ended must not keep the others from being ended.
    for (const connection of [...this.#host.clients]) this.#guard(() => carryOut(order, connection, 'closeFor'))
  }

  #guard (obey: () => void): void {
    try {
      obey()
    } catch (error) {
      this.#host.log.error({ err: error }, 'realtime: a disconnect or revoke could not be carried out')
    }
  }

  /** How many orders were given so far. For a client that arrives now, only later orders count. */
  get orders (): number { return this.#revocations.count }

  /** How many orders were given by that moment (performance.now). */
  ordersAt (time: number): number {
    return this.#revocations.countAt(time)
  }

  /** The orders that were given since the client arrived, and that could not find it yet. @throws Unavailable */
  missedBy ({ since }: Ordered): Order[] {
    const missed = this.#revocations.after(since)
    // Threat: a client could keep a hook waiting until this node has forgotten the order that concerns the client.
    if (!missed) {
      throw new Unavailable('the client took too long to connect: a disconnect or revoke for it may have been missed')
    }
    return missed
  }

  /**
   * Carries out the orders that the connection missed. From now on orders find it. An order to end the connection waits
   * until it has a wire.
   */
  catchUp (connection: Ordered, missed: readonly Order[]): void {
    for (const order of missed) carryOut(order, connection, 'condemn')
  }

  #askAgain (): void {
    const { clients, log } = this.#host
    log.warn({},
      'realtime: a disconnect or revoke of another node may have been missed: authorize is asked again for ' +
      'all topics of all connections, and where there is none the client is told to reconnect')
    this.#revocations.lose()
    this.#guard(() => this.#host.resync())
    const { size } = clients
    for (const connection of [...clients]) this.#guard(() => connection.judgeAnew(this.#host.retryAfter(size)))
  }
}

function carryOut (order: Order, connection: Ordered, end: 'condemn' | 'closeFor'): void {
  if (connection.closed || !fits(order.target, connection)) return
  if (order.op === 'unsubscribe') return connection.take(order.topic)
  const { code, text, reconnect } = order
  connection[end]({
    ...(code !== undefined && { code }),
    ...(text !== undefined && { text }),
    ...(reconnect !== undefined && { reconnect })
  })
}

function fits ({ identity, connection, topic }: Target, candidate: Ordered): boolean {
  return (identity === undefined || candidate.identity.id === identity) &&
    (connection === undefined || candidate.id === connection) &&
    (topic === undefined || candidate.concerns(topic))
}
