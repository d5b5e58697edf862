/**
 * This node among others: what a node asks of all nodes (to end connections, to take topics from them, and what
 * features ask). Such orders are events of a reserved topic with history, which every node listens to: an order that
 * was given while a node was cut off reaches it by repair. Where repair fails, every connection's topics are authorized
 * again; a connection for which nothing can be asked is told to come back.
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
  /** Orders given before its request arrived. */
  readonly since: number
  /** Does it listen to this topic, or is it about to? */
  concerns (topic: string): boolean
  take (topic: string): void
  /** Ends it as soon as there is a wire that can say so. */
  condemn (reason: Ending): void
  closeFor (reason: Ending): void
  /** `retry`: when it should come back, if it must (ms). */
  judgeAnew (retry: number): void
}

/** What a client that is ended is told. */
interface Ending { readonly code?: number, readonly text?: string, readonly reconnect?: boolean }

/** Reads an order of a feature's own. Returns what is to be done; undefined where the order is not understood. */
export type ReadOrder = (said: Members) => (() => void) | undefined

export interface NodeHost {
  readonly adapter: Adapter
  readonly observe: Observer
  readonly log: AppLog
  /** The connections on which orders are carried out. */
  readonly clients: ReadonlySet<Ordered>
  listenersHere (topic: string): number
  /** Orders of features may be lost too. */
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

  /** A feature obeys orders of this word. */
  obey (op: string, read: ReadOrder): void {
    this.#features.set(op, read)
  }

  /** Is this topic the nodes' own? */
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

  /** Resolves when the order is given; every node obeys as soon as it hears of it. */
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
    // It comes from a newer node, or from somebody else who writes to this topic.
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

  /** How many orders were given so far. A client that arrives now is concerned by those that follow. */
  get orders (): number { return this.#revocations.count }

  /** How many orders were given by that moment (performance.now). */
  ordersAt (time: number): number {
    return this.#revocations.countAt(time)
  }

  /** The orders that were given since the client arrived, and could not find it yet. @throws Unavailable */
  missedBy ({ since }: Ordered): Order[] {
    const missed = this.#revocations.after(since)
    // Threat: a client could keep a hook waiting until the order that concerns it is forgotten.
    if (!missed) {
      throw new Unavailable('the client took too long to connect: a disconnect or revoke for it may have been missed')
    }
    return missed
  }

  /** Orders find the connection from now on. It obeys those that it missed; an order to end it waits for its wire. */
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
