/** What is written to the members of a group. These are objects, not closures, because one is made for every write. */
import { entriesFor, type Entry } from '../event.ts'
import type { Chunk, Encoder, HeardTopic } from '../wire.ts'
import { bytesOf } from './bytes.ts'
import type { Message } from './fan-out.ts'
import type { Member } from './member.ts'

/** Every member gets the same bytes. */
export class SharedMessage implements Message {
  readonly bytes: Chunk
  done: (() => void) | undefined = undefined
  protected readonly entries: readonly Entry[]

  constructor (entries: readonly Entry[], bytes: Chunk) {
    this.entries = entries
    this.bytes = bytes
  }

  give (member: Member): void {
    member.deliver(this.bytes, this.entries)
  }
}

/** Some events have an `except`: that connection gets only the position of the event. */
export class PartialMessage extends SharedMessage {
  readonly #topic: HeardTopic
  readonly #encoder: Encoder
  /** Ids of the connections that do not get some of the events. */
  readonly #senders: ReadonlySet<string | undefined>

  constructor (entries: readonly Entry[], bytes: Chunk, topic: HeardTopic, encoder: Encoder) {
    super(entries, bytes)
    this.#topic = topic
    this.#encoder = encoder
    this.#senders = new Set(entries.map(({ except }) => except?.connection))
  }

  override give (member: Member): void {
    const { receiver } = member
    const own = this.#senders.has(receiver.id) ? entriesFor(receiver, this.entries) : this.entries
    if (own === this.entries) return super.give(member)
    if (own.length === 0) return
    const bytes = bytesOf(this.#encoder, own, this.#topic)
    // The bytes may be empty: the flat format cannot tell a position.
    if (bytes.byteLength > 0) member.deliver(bytes, own)
  }
}
