/** What a topic's keys and channel are called in Redis. `{…}` is the hash tag: all of a topic is on one slot. */

export interface TopicKeys {
  readonly log: string
  readonly head: string
  readonly owner: string
  /** Of a keyed topic. */
  readonly state: string
  /** Of one that says who is there: what its nodes have said. */
  readonly nodes: string
  /** Set by a node that found the log forked. */
  readonly fork: string
  /** What a publishing node appended last. */
  readonly mark: (node: string) => string
  readonly dedupe: (key: string) => string
  readonly channel: string
}

/** Topics whose keys are kept made. */
const MAX_KNOWN = 20_000

export class Keys {
  readonly #prefix: string
  readonly #known = new Map<string, TopicKeys>()

  constructor (prefix: string) {
    this.#prefix = prefix
  }

  #channel (topic: string): string {
    // Threat: a brace in a topic would move the tag, and with it the slot. Injective, since "%" is escaped too.
    return `${this.#prefix}{${topic.replace(/[%{}]/g, encodeURIComponent)}}`
  }

  /** The nodes that hold members. No topic has this name. */
  get registry (): string { return this.#channel('realtime:nodes') }

  /** Of marks: a sorted set, apart from all topics. */
  marks (space: string): string {
    return `${this.#prefix}marks:{${space}}`
  }

  of (topic: string): TopicKeys {
    let keys = this.#known.get(topic)
    if (keys) return keys
    if (this.#known.size >= MAX_KNOWN) this.#known.clear()
    this.#known.set(topic, keys = this.#make(topic))
    return keys
  }

  #make (topic: string): TopicKeys {
    const channel = this.#channel(topic)
    return {
      log: `${channel}:log`,
      head: `${channel}:head`,
      owner: `${channel}:owner`,
      state: `${channel}:state`,
      nodes: `${channel}:nodes`,
      fork: `${channel}:fork`,
      mark: (node) => `${channel}:m:${node}`,
      dedupe: (key) => `${channel}:d:${key}`,
      channel
    }
  }
}

/** CRC16 (XMODEM) of the tag, modulo 16384: Redis Cluster specification, "Key distribution model". */
export function slotOf (channel: string): number {
  const open = channel.indexOf('{')
  const close = channel.indexOf('}', open + 1)
  const tag = open >= 0 && close > open + 1 ? channel.slice(open + 1, close) : channel
  let crc = 0
  for (const byte of Buffer.from(tag)) {
    crc ^= byte << 8
    for (let bit = 0; bit < 8; bit++) crc = (crc & 0x8000) ? ((crc << 1) ^ 0x1021) & 0xffff : (crc << 1) & 0xffff
  }
  return crc % 16384
}
