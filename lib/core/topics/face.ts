/** The topic object that the app gets. It has what its public type says, and nothing behind it can be reached. */
import type { HistoryPage, Published, StatePage } from '../published.ts'
import type { DeclaredTopic, Params, TopicAt } from './topic.ts'

/** What a topic does for the app. */
export interface TopicFaceHost {
  publish (
    target: Pick<TopicAt, 'topic' | 'params'>, event: string, data: unknown, options?: unknown
  ): Promise<Published>
  remove (target: Pick<TopicAt, 'topic' | 'params'>, key: unknown, options?: unknown): Promise<Published>
  state (at: TopicAt, options?: unknown): Promise<StatePage>
  presence (at: TopicAt, options?: unknown): Promise<object>
  history (at: TopicAt, options?: unknown): Promise<HistoryPage>
  subscribe (at: TopicAt, options?: unknown): AsyncIterable<object>
}

/** One topic of a pattern, as the app holds it. */
export interface TopicRef {
  readonly topic: TopicFace
  readonly params: Readonly<Params>
  readonly name: string
}

export class TopicFace {
  readonly #topic: DeclaredTopic
  readonly #host: TopicFaceHost

  constructor (topic: DeclaredTopic, host: TopicFaceHost) {
    this.#topic = topic
    this.#host = host
  }

  /** The declared topic behind a `TopicFace`; undefined for any other value. */
  static declared (value: unknown): DeclaredTopic | undefined {
    return typeof value === 'object' && value !== null && #topic in value ? value.#topic : undefined
  }

  get pattern (): string { return this.#topic.pattern }
  get durable (): boolean { return this.#topic.durable }

  name (params: Params): string {
    return this.#topic.name(params)
  }

  at (params: Params): TopicRef {
    const { name, params: own } = this.#topic.at(params)
    return Object.freeze({ topic: this, params: own, name })
  }

  // Not async: that would make one more promise for each publish.
  publish (params: Params, event: string, data: unknown, options?: unknown): Promise<Published> {
    return this.#host.publish({ topic: this.#topic, params }, event, data, options)
  }

  async remove (params: Params, key: string, options?: unknown): Promise<Published> {
    return await this.#host.remove({ topic: this.#topic, params }, key, options)
  }

  async state (params: Params, options?: unknown): Promise<StatePage> {
    return await this.#host.state(this.#topic.at(params), options)
  }

  async presence (params: Params, options?: unknown): Promise<object> {
    return await this.#host.presence(this.#topic.at(params), options)
  }

  async history (params: Params, options?: unknown): Promise<HistoryPage> {
    return await this.#host.history(this.#topic.at(params), options)
  }

  subscribe (params: Params, options?: unknown): AsyncIterable<object> {
    return this.#host.subscribe(this.#topic.at(params), options)
  }
}

/** The topic that a reference (`topic.at(…)`) names; undefined for any other value. */
export function topicAt (value: unknown): TopicAt | undefined {
  if (typeof value !== 'object' || value === null) return undefined
  const { topic, params, name } = value as Partial<TopicRef>
  const declared = typeof name === 'string' ? TopicFace.declared(topic) : undefined
  // The name is made again from the topic and the params, because the app could have built the reference by hand.
  return declared?.at(params as Params)
}
