/** The topics on this node that have listeners or are about to, and the limit of the memory that they may keep. */
import type { DeclaredTopic, Params, TopicAt } from '../topics/topic.ts'
import { ActiveTopic, type DeliveryHost } from './active-topic.ts'

/** How long a topic without listeners stays open, ms. A client that comes back meanwhile finds its recent events. */
const LINGER_MS = 5000

export class ActiveTopics {
  readonly #host: DeliveryHost
  readonly #maxRecentBytes: number
  readonly #topics = new Map<string, ActiveTopic>()

  /** `maxRecentBytes`: bytes that all topics together may keep: recent events, states and snapshots. */
  constructor (host: DeliveryHost, maxRecentBytes: number) {
    this.#host = host
    this.#maxRecentBytes = maxRecentBytes
  }

  get (name: string): ActiveTopic | undefined {
    return this.#topics.get(name)
  }

  get names (): Iterable<string> { return this.#topics.keys() }

  /** How many topics have listeners. */
  get listenedTo (): number {
    let count = 0
    for (const topic of this.#topics.values()) if (topic.listeners > 0) count++
    return count
  }

  /** Keeps the topic open until `release`. */
  hold ({ topic: declared, params, name }: TopicAt): ActiveTopic {
    let topic = this.#topics.get(name)
    if (!topic) {
      topic = this.#make(declared, params, name)
      this.#topics.set(name, topic)
    }
    topic.holds++
    return topic
  }

  #make (declared: DeclaredTopic, params: Params, name: string): ActiveTopic {
    return new ActiveTopic(this.#host, declared, params, name)
  }

  release (topic: ActiveTopic): void {
    topic.holds--
    idle(topic)
  }

  entered (topic: ActiveTopic): void {
    topic.listeners++
    topic.declared.subscriptions++
    this.#host.observe.counts.subscriptions++
  }

  left (topic: ActiveTopic): void {
    topic.listeners--
    topic.declared.subscriptions--
    this.#host.observe.counts.subscriptions--
    idle(topic)
  }

  /** Resolves when the topic is open. A topic that failed to open is removed, so that the next `hold` tries again. */
  async ready (topic: ActiveTopic): Promise<void> {
    try {
      await topic.ready
    } catch (error) {
      if (this.#topics.get(topic.name) === topic) this.#topics.delete(topic.name)
      topic.close()
      throw error
    }
  }

  /** Writes everything that waits now. */
  flush (): void {
    for (const topic of this.#topics.values()) topic.flush()
    this.#host.turns.finish()
  }

  /** Closes idle topics, drops aged events, and frees recent events above the node's limit. */
  sweep (lingerMs = LINGER_MS): void {
    const now = performance.now()
    let bytes = 0
    for (const topic of this.#topics.values()) {
      if (topic.listeners === 0 && topic.holds === 0 && now - topic.idleSince >= lingerMs) this.#letGo(topic)
      else bytes += recentBytes(topic)
    }
    for (const topic of this.#topics.values()) {
      if (bytes <= this.#maxRecentBytes) break
      // A client is about to join, and needs these recent events to catch up.
      if (topic.holds > 0) continue
      bytes -= topic.keptBytes
      topic.forget()
    }
    this.#host.observe.counts.ringBytes = bytes
  }

  #letGo (topic: ActiveTopic): void {
    this.#topics.delete(topic.name)
    topic.close()
    this.#host.unlisten(topic.name)
  }

  close (): void {
    for (const topic of this.#topics.values()) topic.close()
    this.#topics.clear()
  }
}

function idle (topic: ActiveTopic): void {
  if (topic.listeners === 0 && topic.holds === 0) topic.idleSince = performance.now()
}

function recentBytes (topic: ActiveTopic): number {
  const recent = topic.log?.recent
  recent?.expire()
  recent?.rest()
  return topic.keptBytes
}
