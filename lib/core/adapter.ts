/**
 * The adapter contract: an adapter connects nodes and keeps history. The suite of lib/conformance/adapter.ts tests it.
 */

/** The id of an event, `<ms>-<seq>.<nonce>`. Compare it only for equality. */
export type EventId = string

/** What the bytes of an event are: JSON text (default), plain text, or bytes. */
export type Format = 'json' | 'text' | 'binary'

/** Who does not get an event: usually its sender, who has it already. */
export interface Except {
  /** The id of a connection. */
  readonly connection: string
  /**
   * The identity of that connection. If it is given, both must match: a client that names the connection of another
   * must not hide events from it.
   */
  readonly identity?: string
}

/**
 * The place of a publish in a distributed trace, as W3C Trace Context (section 3) writes it. An adapter need not carry
 * it. Without it the event is linked to no trace.
 */
export interface TraceContext {
  /** `00-<trace id>-<span id>-<flags>` */
  readonly traceparent: string
  readonly tracestate?: string
}

/**
 * One event of a linked log. `prev` is the id of the event before it in its topic. The `prev` of the first event is the
 * log's genesis id, which is never used again: a log that was lost and begins anew has another.
 */
export interface LogEvent {
  readonly id: EventId
  readonly prev: EventId
  readonly name: string
  readonly data: Uint8Array
  readonly format: Format
  /** For a client with `slow: 'latest'` it replaces older waiting events with the same name and key. */
  readonly key?: string
  /** Who does not get it live. */
  readonly except?: Except
  /** The trace that it was published in, if any. */
  readonly trace?: TraceContext
}

/** An event of a topic without history. It is delivered at most once. */
export interface EphemeralEvent {
  readonly name: string
  readonly data: Uint8Array
  readonly format: Format
  readonly key?: string
  readonly except?: Except
  readonly trace?: TraceContext
}

/** What is kept of one topic. Above a limit the oldest events are dropped. */
export interface Retention {
  /** Events. */
  readonly limit: number
  /** How long an event is kept, ms. */
  readonly maxAge: number
  /** Bytes of data. */
  readonly maxBytes: number
}

/** How an event is appended to a topic's log. */
export interface AppendOptions {
  retention: Retention
  format: Format
  key?: string
  except?: Except
  /** Kept with the event, and given to all that hear or read it. */
  trace?: TraceContext
  /** Appending again with this key within `retention.maxAge` resolves with the first id and appends nothing. */
  dedupe?: string
  /** How long the log is kept after the last append, ms. Its head is kept longer. */
  lifetime?: number
  /**
   * Appends only if this is the topic's last id; null: only if it has no events (its head is a genesis). Otherwise
   * nothing is appended, and the publish rejects with FST_ERR_REALTIME_CONFLICT. A key that `dedupe` knows is not a
   * conflict.
   */
  expect?: EventId | null
  /** Appends only while the topic belongs to this owner, see {@link Ownership}. */
  owner?: string
  /** The topic keeps the newest event of each `key`, and `key` is given. See {@link KeyedStates}. */
  keyed?: Keyed
}

/** The limits of a keyed topic's state. */
export interface KeyedBounds {
  readonly maxKeys: number
  /** Bytes of data. */
  readonly maxBytes: number
  /** How long the state, and the topic's position, are kept after the last event, ms. */
  readonly lifetime: number
}

/** How an event changes the state: `put` makes it the newest of its key, `remove` removes the key. */
export interface Keyed {
  readonly change: 'put' | 'remove'
  readonly bounds: KeyedBounds
}

/** The newest event of a key. */
export interface KeyedEvent {
  readonly id: EventId
  readonly key: string
  readonly name: string
  readonly data: Uint8Array
  readonly format: Format
}

/** A part of a keyed topic's state. */
export interface StatePage {
  /** The log's last id, read in the same step as the events. */
  readonly head: EventId
  readonly events: readonly KeyedEvent[]
  /** Where the next part starts. Undefined after the last part. */
  readonly next: string | undefined
}

/** The limits of one read: events, and bytes of their data. */
export interface ReadLimits { count: number, bytes: number }

/** What a read found. */
export interface Page {
  /** The log's last id (or its genesis), read before the events. Later events may be in `events` too. */
  head: EventId
  /** Each links to the one before. If `after` is unknown, they start with the oldest event that is kept. */
  events: LogEvent[]
  /** True if `events[0].prev === after`, or if there are no events and `head === after`. */
  linked: boolean
  /** True if `limits` cut the page. */
  more: boolean
  /** True if `after` is in the log, but what follows cannot be read. `linked` is then false. */
  lost?: boolean
}

/** What an adapter reports to. The hub passes it to `start`. */
export interface Sink {
  /** An event of a log. Events may come in any order, repeated, and with gaps: the hub checks this. */
  event (topic: string, event: LogEvent): void
  /** An event of a topic without history. */
  ephemeral (topic: string, event: EphemeralEvent): void
  /**
   * Checks data that others wrote. False: the data does not have its format. The adapter must then treat the event as
   * lost: it does not report it, and a read that meets it is not linked.
   */
  readable? (data: Uint8Array, format: Format): boolean
  /** Events may have been missed. Call it only when the adapter is live again. */
  suspect (topics: Iterable<string> | 'all'): void
  /** The adapter is available, or not any more. */
  state (state: 'up' | 'down', why?: Error): void
}

/**
 * Connects nodes and keeps the history of topics. `KeyedStates`, `MemberStore` (as `members`), `Marks` and `Ownership`
 * are optional. If an adapter is not available, its methods reject with FST_ERR_REALTIME_UNAVAILABLE.
 */
export interface Adapter {
  /** Its name, for errors and `realtime.stats()`. */
  readonly name: string
  /** Starts. Rejects if the adapter cannot work, which fails the start of the app. */
  start (sink: Sink): Promise<void>
  /**
   * Appends an event. It is linked, stored and announced in one step, or not at all. The calls of a node for one topic
   * keep their order, also over retries. If a key is to be removed that holds nothing, nothing is appended and the id
   * is empty.
   */
  publish (topic: string, name: string, data: Uint8Array, options: AppendOptions): Promise<{ id: EventId }>
  /** Announces an event of a topic without history. */
  ephemeral (topic: string, event: EphemeralEvent): Promise<void>
  /**
   * Subscribes this node to a topic. Resolves with a head that was read when the subscription was live. All later
   * events reach the sink, or `suspect` is called.
   */
  subscribe (topic: string, durable: boolean): Promise<EventId>
  unsubscribe (topic: string): void
  /**
   * Reads what the store holds now. An unknown `after` gives `linked: false`, never an error. `after: null` reads from
   * the oldest event that is kept. The adapter must not cache: the hub does.
   */
  read (topic: string, after: EventId | null, limits: ReadLimits): Promise<Page>
  /** Resolves with the last id of each topic; null if nothing was ever published, or if it is not known any more. */
  heads (topics: string[]): Promise<Array<EventId | null>>
  close (): Promise<void>
  /** Resolves with the number of nodes that listen to a topic. Without this method there is only this node. */
  nodes? (topic: string): Promise<number>
  /** Returns what the adapter says of itself in `realtime.stats()`. */
  stats? (): Record<string, unknown>
}

/** Who alone may append to a topic: the node that runs a source. It is a lease, and ends `ms` after the last claim. */
export interface Ownership {
  /** Claims the topic, or renews the claim. Resolves with the owner that the topic has now. */
  claim (topic: string, owner: string, ms: number): Promise<string>
  /** Resolves with the owner; undefined if there is none. */
  owner (topic: string): Promise<string | undefined>
  /** Gives the topic back, or on to `next`, if it belongs to `owner`. */
  release (topic: string, owner: string, next?: { owner: string, ms: number }): Promise<void>
}

/**
 * The states of keyed topics: the newest event of each key, written in the same step as the log. If either the state or
 * the log is lost, the other is too, and the log begins anew.
 */
export interface KeyedStates {
  /**
   * Reads a part of a topic's state, of about `count` keys. `from` is null, or the `next` of the part before. A key
   * that holds an event during the whole read is in at least one part; others may be. Parts are read at different
   * times, and each has the head of its time. A put above the topic's bounds rejects with FST_ERR_REALTIME_STATE_FULL.
   */
  state (topic: string, from: string | null, count: number): Promise<StatePage>
}

/** The states that an adapter keeps. Without them it supports no keyed topics. */
export function keyedStatesOf (adapter: Adapter & Partial<KeyedStates>): KeyedStates | undefined {
  return adapter.state ? adapter as KeyedStates : undefined
}

/** A topic whose state is the members of another topic, its `subject`. */
export interface MemberTopic {
  readonly topic: string
  readonly subject: string
  /** The name of its events. Their data is `{ topic, type, … }`: see PROTOCOL.md. */
  readonly event: string
  /** `count`: its events say how many members there are, not who. */
  readonly mode: 'members' | 'count'
  readonly maxMembers: number
  /** How long a member stays after its node has died, ms. */
  readonly grace: number
  readonly retention: Retention
}

/** Why a member has left: by itself, because its node died, or because the app removed it. */
export type LeaveReason = 'left' | 'lost' | 'removed'

/**
 * What a node says of one member: it is there, shown by `data` (JSON), or it is gone. `theirs`: if other nodes hold it
 * already, it is shown as they show it.
 */
export type Holding =
  | { readonly is: 'there', readonly data: string, readonly shows: 'ours' | 'theirs' }
  | { readonly is: 'gone', readonly reason: LeaveReason }

/** What a node has appended: at most once for each change, in all nodes together. */
export type MemberChange =
  | { readonly type: 'join', readonly members: readonly string[] }
  | { readonly type: 'leave', readonly ids: readonly string[], readonly reason: LeaveReason }

/**
 * Members of topics, held by the nodes that they are connected to. A member is there while a node holds it. A node that
 * dies holds nothing any more. The state of such a topic is keyed, see {@link KeyedStates}, and its events link like
 * all others: a reader of the state and the log always knows who is there.
 */
export interface MemberStore {
  /** How long a state that has begun anew may be incomplete, ms. */
  readonly settle: number
  /**
   * Called once, before anything is held. The store calls `told` for what this node has appended. `describe` returns a
   * topic by its name, if this node has declared it. Only such a node can remove what a dead node held there.
   */
  watch (
    told: (topic: MemberTopic, change: MemberChange) => void, describe: (topic: string) => MemberTopic | undefined
  ): void
  /**
   * Says what this node holds from now on. It never throws: while the store is not available, this is kept and written
   * later.
   */
  hold (topic: MemberTopic, id: string, holding: Holding): void
  /** The topic's log has begun anew. What this node holds there may be lost: the store compares it. */
  doubt (topic: string): void
  /** Resolves when everything that this node said of the topic is in the store. */
  held (topic: string): Promise<void>
}

export function memberStoreOf (adapter: Adapter & { members?: MemberStore }): MemberStore | undefined {
  return adapter.members
}

/**
 * Marks that every node must know, also those that start later: the latest moment for each key. The adapter only keeps
 * them. The node that makes one tells the others itself.
 */
export interface Marks {
  /**
   * Keeps the moment `at` (ms since the epoch) until `ms` after it, unless a later one is kept for this key. Resolves
   * with true when it is kept, and with false if `most` other keys are kept already. Then nothing is kept.
   */
  mark (space: string, key: string, at: number, ms: number, most: number): Promise<boolean>
  /** Resolves with all marks of a space. Entries that cannot be read are left out. */
  marks (space: string): Promise<ReadonlyMap<string, number>>
}

/** The marks that an adapter keeps. Without them a node that starts later does not know earlier ones. */
export function marksOf (adapter: Adapter & Partial<Marks>): Marks | undefined {
  return adapter.mark && adapter.marks ? adapter as Marks : undefined
}

/** The ownership that an adapter offers. Without it this node is the only one that runs sources. */
export function ownershipOf (adapter: Adapter & Partial<Ownership>): Ownership | undefined {
  return adapter.claim && adapter.owner && adapter.release ? adapter as Ownership : undefined
}
