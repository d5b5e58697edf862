/** This node among others that have the inspector: what it asks of them, and what it answers. */
import type { Insight } from '../insight.ts'
import type { Realtime } from '../types/realtime.ts'
import type { AnyItem, TopicSubscription } from '../types/topic.ts'
import {
  readAnswer, readAsk, readHead, type Answer, type Ask, type Said, type Want, type Wish, type WishFor
} from './said.ts'
import { OWN, type Asker } from './own-node.ts'

export const ASKS = `${OWN}asks`
/** What pages do, for all pages. */
export const ACTS = `${OWN}acts`
export const ANSWERS = `${OWN}answers/:node`

/** Questions of others that are answered in a second: as many as a few dozen pages ask. */
const ASKS_PER_SECOND = 100
/** A node that has not been heard for so long is forgotten. */
const FORGET_MS = 60_000

export interface NodesHost {
  /** Of this node. */
  answer (wish: Wish, of: Asker): Said[Want]
  log: { warn (details: object, message: string): void }
}

/** What all nodes have said. `silent`: those that have said nothing in time. */
export interface Heard<W extends Want> { answers: Array<{ node: string, said: Said[W] }>, silent: string[] }

class Pending {
  readonly heard = new Map<string, unknown>()
  readonly over: Promise<void>
  #expected = Infinity
  #wake!: () => void

  constructor (ms: number) {
    this.over = new Promise((resolve) => {
      const timer = setTimeout(resolve, ms).unref()
      this.#wake = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  }

  /** So many answer, where all are well. */
  expect (nodes: number): void {
    this.#expected = nodes
    this.#look()
  }

  add (node: string, data: unknown): void {
    this.heard.set(node, data)
    this.#look()
  }

  end (): void { this.#wake() }

  #look (): void {
    if (this.heard.size >= this.#expected) this.end()
  }
}

export class Nodes {
  readonly #realtime: Realtime
  readonly #insight: Insight
  readonly #host: NodesHost
  readonly #settings: { readonly answerTimeout: number, readonly maxNodes: number, readonly maxRows: number }
  readonly #pending = new Map<string, Pending>()
  /** When each other node was heard last (performance.now). */
  readonly #known = new Map<string, number>()
  #subscriptions: Array<TopicSubscription<AnyItem>> = []
  #answering: Promise<unknown> | undefined
  #askId = 0
  #second = 0
  #answered = 0

  constructor (realtime: Realtime, insight: Insight, settings: Nodes['settings'], host: NodesHost) {
    this.#realtime = realtime
    this.#insight = insight
    this.#settings = settings
    this.#host = host
  }

  get settings () { return this.#settings }

  /** It hears the others' questions from here on. Where there can be no others it hears nothing. */
  async start (): Promise<void> {
    if (this.#insight.alone) return
    await this.#hear(ASKS, (data) => this.#heardAsk(data))
  }

  stop (): void {
    for (const subscription of this.#subscriptions.splice(0)) subscription.return().catch(() => {})
    for (const pending of this.#pending.values()) pending.end()
  }

  /** Nobody else need be asked: the answer is there before what it does shows. */
  askHere<W extends Want> (wish: WishFor<W>): Said[W] {
    return this.#host.answer(wish, 'page') as Said[W]
  }

  async ask<W extends Want> (wish: WishFor<W>): Promise<Heard<W>> {
    const { node } = this.#insight
    const own = { node, said: this.askHere<W>(wish) }
    if (this.#insight.alone) return { answers: [own], silent: [] }
    const others = await this.#askOthers<W>(wish)
    return { answers: [own, ...others], silent: this.#silent(others) }
  }

  /** Those that answer in time: none, where the adapter is away. */
  async #askOthers<W extends Want> (wish: WishFor<W>): Promise<Array<Answer<W>>> {
    const { answerTimeout, maxRows } = this.#settings
    const ask: Ask = { ask: `${this.#insight.node.slice(0, 40)}-${++this.#askId}`, from: this.#insight.node, wish }
    const pending = new Pending(answerTimeout)
    this.#pending.set(ask.ask, pending)
    this.#put(ask, pending).catch(() => pending.end())
    await pending.over
    this.#pending.delete(ask.ask)
    return [...pending.heard.values()].flatMap((data) => readAnswer<W>(data, wish.want as W, maxRows) ?? [])
  }

  async #put (ask: Ask, pending: Pending): Promise<void> {
    await this.#hearAnswers()
    await this.#realtime.publish(ASKS, 'ask', ask)
    // Where nobody can say how many they are, all the time there is is theirs.
    const nodes = await this.#insight.nodesAt(ASKS).catch(() => Infinity)
    pending.expect(nodes - 1)
  }

  async #hearAnswers (): Promise<void> {
    this.#answering ??= this.#hear(`${OWN}answers/${this.#insight.node}`, (data) => this.#heardAnswer(data))
    try {
      await this.#answering
    } catch (error) {
      this.#answering = undefined
      throw error
    }
  }

  /** A node that has nothing to say any more is forgotten after a while. */
  #silent (answers: ReadonlyArray<{ node: string }>): string[] {
    const now = performance.now()
    for (const { node } of answers) this.#known.set(node, now)
    for (const [node, at] of this.#known) if (now - at > FORGET_MS) this.#known.delete(node)
    return [...this.#known.keys()].filter((node) => !answers.some((answer) => answer.node === node))
  }

  async #hear (topic: string, heard: (data: unknown) => void): Promise<void> {
    const subscription = this.#realtime.subscribe(topic, { slow: 'reset' })
    this.#subscriptions.push(subscription)
    this.#follow(subscription, heard).catch((error: unknown) => {
      this.#host.log.warn({ err: error, topic }, 'realtime inspector: other nodes are not heard any more')
    })
    await subscription.ready
  }

  async #follow (subscription: TopicSubscription<AnyItem>, heard: (data: unknown) => void): Promise<void> {
    for await (const { event, data } of subscription) if (!event.startsWith('realtime:')) heard(data)
  }

  #heardAsk (data: unknown): void {
    const ask = readAsk(data)
    if (!ask || ask.from === this.#insight.node || !this.#mayAnswer()) return
    const answer = { ask: ask.ask, node: this.#insight.node, said: this.#host.answer(ask.wish, 'node') }
    this.#realtime.publish(`${OWN}answers/${ask.from}`, 'answer', answer).catch((error: unknown) => {
      this.#host.log.warn({ err: error }, 'realtime inspector: another node could not be answered')
    })
  }

  /** Threat: who may write to the adapter's server could keep a node busy with questions. */
  #mayAnswer (): boolean {
    const second = Math.floor(performance.now() / 1000)
    if (second !== this.#second) this.#answered = 0
    this.#second = second
    return ++this.#answered <= ASKS_PER_SECOND
  }

  /** One answer of each node, and no more nodes than may be shown. */
  #heardAnswer (data: unknown): void {
    const head = readHead(data)
    const pending = head && this.#pending.get(head.ask)
    if (!pending || head.node === this.#insight.node || pending.heard.has(head.node)) return
    if (pending.heard.size < this.#settings.maxNodes - 1) pending.add(head.node, data)
  }
}
