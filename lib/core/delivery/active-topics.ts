/** The topics that somebody listens to here, or is about to, and the bound on what is kept of all of them. */
import type { DeclaredTopic, Params, TopicAt } from '../topics/topic.ts'
import { ActiveTopic, type DeliveryHost } from './active-topic.ts'

/** A topic without listeners is kept for so long: whoever comes back finds it warm. */
const LINGER_MS = 5000

export class ActiveTopics {
  readonly #host: DeliveryHost
  readonly #maxRecentBytes: number
  readonly #topics = new Map<string, ActiveTopic>()

  /** `maxRecentBytes`: what the recent events of all topics may take. */
  constructor (host: DeliveryHost, maxRecentBytes: number) {
    this.#host = host
    this.#maxRecentBytes = maxRecentBytes
  }

  get (name: string): ActiveTopic | undefined {
    return this.#topics.get(name)
  }

  get names (): Iterable<string> { return this.#topics.keys() }

  /** Of those that somebody listens to. */
  get listenedTo (): number {
    let count = 0
    for (const topic of this.#topics.values()) if (topic.listeners > 0) count++
    return count
  }

  /** It stays until `release`. */
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

  /** Resolves when it is open. One that could not be opened is not kept: the next one who asks tries again. */
  async ready (topic: ActiveTopic): Promise<void> {
    try {
      await topic.ready
    } catch (error) {
      if (this.#topics.get(topic.name) === topic) this.#topics.delete(topic.name)
      topic.close()
      throw error
    }
  }

  /** Everything that waits is written now. */
  flush (): void {
    for (const topic of this.#topics.values()) topic.flush()
    this.#host.turns.finish()
  }

  /** Lets go of idle topics and aged events, and keeps the recent events within the node's bound. */
  sweep (lingerMs = LINGER_MS): void {
    const now = performance.now()
    let bytes = 0
    for (const topic of this.#topics.values()) {
      if (topic.listeners === 0 && topic.holds === 0 && now - topic.idleSince >= lingerMs) this.#letGo(topic)
      else bytes += recentBytes(topic)
    }
    for (const topic of this.#topics.values()) {
      if (bytes <= this.#maxRecentBytes) break
      // Somebody is about to join, and counts on finding here what it has missed.
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
