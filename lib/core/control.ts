/**
 * What one node asks of all: end connections, take topics from them, stop a source, count listeners. Orders are events
 * of a reserved topic with history, which every node listens to: what was given while a node was cut off reaches it by
 * repair. Where that cannot be, every connection's topics are authorized again; who cannot be asked is to come back.
 */
import { randomBytes } from 'node:crypto'
import type { EphemeralEvent, Id, LogEvent, Retention } from './adapter.ts'
import type { Connection } from './connection.ts'
import type { Hub } from './hub.ts'
import { readOrder, readQuestion, type Answer, type Order, type Question, type Target } from './orders.ts'
import { Revocations } from './revocations.ts'
import { TopicLog } from './topic-log.ts'
import { Unavailable } from '../errors.ts'

export const CONTROL = 'realtime:control'

type Revocation = Exclude<Order, { op: 'stop' }>

const RETENTION: Retention = { limit: 10_000, maxAge: 600_000, maxBytes: 4 << 20 }
const ANSWER_MS = 1000

export class Control {
  /** Of this process, and of this start alone. */
  readonly node = randomBytes(9).toString('base64url')
  readonly #hub: Hub
  readonly #log: TopicLog
  readonly #replies: string
  readonly #revocations = new Revocations<Revocation>()
  readonly #asked = new Map<string, (answer: Answer) => void>()

  constructor (hub: Hub) {
    this.#hub = hub
    this.#replies = `realtime:node:${this.node}`
    this.#log = new TopicLog({
      append: ({ data, format }) => this.#heard(readOrder(data, format)),
      reset: () => this.#askAgain(),
      read: async (after, limits) => await hub.adapter.read(CONTROL, after, limits),
      readFailed: () => {},
      repaired: () => {}
    }, RETENTION)
  }

  async start (): Promise<void> {
    const { adapter } = this.#hub
    const [head] = await Promise.all([adapter.subscribe(CONTROL, true), adapter.subscribe(this.#replies, false)])
    this.#log.open(head, false)
  }

  close (): void {
    this.#log.close()
  }

  /** Is this topic the hub's own? */
  concerns (topic: string): boolean {
    return topic === CONTROL || topic === this.#replies
  }

  event (topic: string, event: LogEvent): void {
    if (topic === CONTROL) this.#log.deliver(event)
  }

  suspect (): void {
    this.#log.repair().catch(() => {})
  }

  /** Resolves when the order is given; every node obeys as soon as it hears of it. */
  async order (order: Order): Promise<{ id: Id }> {
    return await this.#hub.adapter.publish(CONTROL, 'order', Buffer.from(JSON.stringify(order)), { retention: RETENTION, format: 'json' })
  }

  // --- counting --------------------------------------------------------------

  /** Listeners on all nodes that answer. */
  async count (topic: string): Promise<number> {
    const nodes = await this.#hub.adapter.nodes?.(CONTROL) ?? 1
    const here = this.#hub.room(topic)?.listeners ?? 0
    return nodes > 1 ? here + await this.#ask(topic, nodes - 1) : here
  }

  async #ask (topic: string, nodes: number): Promise<number> {
    const ask = randomBytes(6).toString('base64url')
    let total = 0
    let timer: NodeJS.Timeout | undefined
    const answered = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, ANSWER_MS)
      this.#asked.set(ask, ({ count }) => {
        total += count
        if (--nodes === 0) resolve()
      })
    })
    try {
      await this.#say(CONTROL, { ask, from: this.node, topic })
      await answered
    } finally {
      clearTimeout(timer)
      this.#asked.delete(ask)
    }
    return total
  }

  ephemeral ({ data, format }: EphemeralEvent): void {
    const heard = readQuestion(data, format)
    if (!heard) this.#hub.counters.ignored++
    else if ('count' in heard) this.#asked.get(heard.ask)?.(heard)
    else if (heard.from !== this.node) this.#answer(heard)
  }

  #answer ({ ask, from, topic }: Question): void {
    this.#say(`realtime:node:${from}`, { ask, count: this.#hub.room(topic)?.listeners ?? 0 }).catch(() => {})
  }

  async #say (topic: string, words: Question | Answer): Promise<void> {
    await this.#hub.adapter.ephemeral(topic, { name: 'count', data: Buffer.from(JSON.stringify(words)), format: 'json' })
  }

  // --- obeying ---------------------------------------------------------------

  /** Of a newer node, or of whoever writes there besides. */
  #heard (order: Order | undefined): void {
    if (!order) {
      this.#hub.counters.ignored++
      return
    }
    this.#guard(() => this.#obey(order))
  }

  #obey (order: Order): void {
    if (order.op === 'stop') {
      const { space, key } = order
      if (space !== undefined) this.#hub.runs.stopHere({ space, key })
      return
    }
    this.#revocations.add(order)
    // Threat: one that cannot be ended must not keep the others.
    for (const connection of [...this.#hub.connections]) this.#guard(() => carryOut(order, connection))
  }

  #guard (obey: () => void): void {
    try {
      obey()
    } catch (error) {
      this.#hub.log.error({ err: error }, 'realtime: an order could not be carried out')
    }
  }

  /** Orders given so far: who arrives now is concerned by those that follow. */
  get orders (): number { return this.#revocations.count }

  /** Orders given by that moment (performance.now). */
  ordersAt (time: number): number {
    return this.#revocations.countAt(time)
  }

  /** Orders given since a client arrived, while it was not to be found. @throws Unavailable */
  missedBy ({ since }: Connection): Revocation[] {
    const missed = this.#revocations.after(since)
    // Threat: whoever keeps a hook waiting for long enough would outlive the order that concerns it.
    if (!missed) throw new Unavailable('the client was on its way in for so long that orders which concern it may be forgotten')
    return missed
  }

  /** It can be found from now on, and hears what it missed. */
  catchUp (connection: Connection, missed: readonly Revocation[]): void {
    for (const order of missed) carryOut(order, connection, true)
  }

  #askAgain (): void {
    const { connections, log } = this.#hub
    log.warn({}, 'realtime: orders of other nodes may be lost: every connection\'s topics are authorized again, and who cannot be asked comes back')
    this.#revocations.lose()
    const clients = connections.size
    for (const connection of [...connections]) this.#guard(() => connection.judgeAnew(this.#hub.retryAfter(clients)))
  }
}

/** `early`: it has no wire yet on which it could be told of its end. */
function carryOut (order: Revocation, connection: Connection, early = false): void {
  if (connection.closed || !fits(order.target, connection)) return
  if (order.op === 'unsubscribe') return connection.take(order.topic)
  const { code, text, reconnect } = order
  const reason = { ...(code !== undefined && { code }), ...(text !== undefined && { text }), ...(reconnect !== undefined && { reconnect }) }
  if (early) connection.condemn(reason)
  else connection.closeFor(reason)
}

function fits ({ identity, connection, topic }: Target, candidate: Connection): boolean {
  return (identity === undefined || candidate.identity.id === identity) &&
    (connection === undefined || candidate.id === connection) &&
    (topic === undefined || candidate.concerns(topic))
}
