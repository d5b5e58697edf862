/** The names of a topic's keys and channel in Redis. `{…}` is the hash tag: it puts all of a topic on one slot. */

export interface TopicKeys {
  readonly log: string
  readonly head: string
  readonly owner: string
  /** Only for a keyed topic. */
  readonly state: string
  /** Only for a topic of presence: what its nodes have said. */
  readonly nodes: string
  /** Set by the node that began the log anew after a failover. */
  readonly fork: string
  /** The batches that a node appended last. */
  readonly mark: (node: string) => string
  readonly dedupe: (key: string) => string
  readonly channel: string
}

/** Keys are kept for at most so many topics. Above it all are dropped and made again. */
const MAX_KNOWN = 20_000

export class Keys {
  readonly #prefix: string
  readonly #known = new Map<string, TopicKeys>()

  constructor (prefix: string) {
    this.#prefix = prefix
  }

  #channel (topic: string): string {
    // Threat: a brace in a topic would move the hash tag, and with it the slot. Escaping "%" too makes names unique.
    return `${this.#prefix}{${topic.replace(/[%{}]/g, encodeURIComponent)}}`
  }

  /** The hash of the nodes that hold members. No topic has this name. */
  get registry (): string { return this.#channel('realtime:nodes') }

  /** The sorted set of a space's marks. It belongs to no topic. */
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
