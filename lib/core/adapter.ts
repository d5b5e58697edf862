/** The adapter contract: what joins nodes and keeps history. Proven by the suite of lib/conformance/adapter.ts. */

/** An event's id, `<ms>-<seq>.<nonce>`. Opaque: compare it for equality only. */
export type EventId = string

/** How an event's bytes are to be read: JSON text (default), plain text, or bytes. */
export type Format = 'json' | 'text' | 'binary'

/** Whom an event is not for: its sender, who has it already. */
export interface Except {
  readonly connection: string
  /**
   * The identity of that connection. When given, the event is withheld only where both fit: a client that could name
   * another's connection must not hide events from it.
   */
  readonly identity?: string
}

/**
 * Where in a distributed trace an event was published, as W3C Trace Context writes it (section 3). An adapter that does
 * not carry it is correct: what is published then is linked to nothing.
 */
export interface TraceContext {
  /** `00-<trace id>-<span id>-<flags>` */
  readonly traceparent: string
  readonly tracestate?: string
}

/**
 * One event of a linked log. `prev` is the id of the event before it in its topic; the first one's is the
 * log's genesis, which is never used again: a log that was lost and begins anew has another.
 */
export interface LogEvent {
  readonly id: EventId
  readonly prev: EventId
  readonly name: string
  readonly data: Uint8Array
  readonly format: Format
  /** Which older event of this name it replaces for a conflating listener. */
  readonly key?: string
  /** Who does not get it live. */
  readonly except?: Except
  /** What it was published with, or nothing. */
  readonly trace?: TraceContext
}

/** An event of a topic without history: at most once. */
export interface EphemeralEvent {
  readonly name: string
  readonly data: Uint8Array
  readonly format: Format
  readonly key?: string
  readonly except?: Except
  readonly trace?: TraceContext
}

export interface Retention {
  readonly limit: number
  /** ms */
  readonly maxAge: number
  readonly maxBytes: number
}

export interface AppendOptions {
  retention: Retention
  format: Format
  key?: string
  except?: Except
  /** Kept with the event, and given to whoever hears or reads it. */
  trace?: TraceContext
  /** Appending again under this key within `retention.maxAge` returns the first id and appends nothing. */
  dedupe?: string
  /** ms after which the whole log is forgotten, its head excepted, unless it is appended to again. */
  lifetime?: number
  /**
   * Appends only if this is the topic's last id; null: only if it has no events (its head is a genesis). Else nothing
   * is appended, and the publish rejects with a Conflict. What `dedupe` knows already is no conflict.
   */
  expect?: EventId | null
  /** Appends only while the topic belongs to this owner (see Ownership). */
  owner?: string
  /** The topic keeps the newest event of each `key`, which is given (see KeyedStates). */
  keyed?: Keyed
}

/** What the state of a keyed topic may hold, and for how long. */
export interface KeyedBounds {
  readonly maxKeys: number
  /** Of data. */
  readonly maxBytes: number
  /** ms after the last event for which the state is kept, and with it the topic's place. */
  readonly lifetime: number
}

/** How an event changes the state: it is its key's newest, or its key holds nothing from here on. */
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
  /** Where the next part starts; undefined behind the last one. */
  readonly next: string | undefined
}

export interface ReadLimits { count: number, bytes: number }

/** What a read found. */
export interface Page {
  /** The log's last id (or its genesis), read before the events: what came later may be in `events` too. */
  head: EventId
  /** Each links to the one before. When `after` is unknown they start with the oldest kept. */
  events: LogEvent[]
  /** `events[0].prev === after`, or there are none and `head === after`. */
  linked: boolean
  /** There is more behind the last of `events`: `limits` cut the page. */
  more: boolean
  /** `after` is in the log, and what follows it cannot be read: it is not `linked`. */
  lost?: boolean
}

/** What the hub gives an adapter at start. */
export interface Sink {
  /** In any order, repeated, with holes: the hub checks. */
  event (topic: string, event: LogEvent): void
  ephemeral (topic: string, event: EphemeralEvent): void
  /**
   * An adapter asks this of data that others wrote. False: the data is not what its format says. The adapter then takes
   * the event for lost: it reports none, and a read that meets it is not linked.
   */
  readable? (data: Uint8Array, format: Format): boolean
  /** Something may have been missed. Called only once live again. */
  suspect (topics: Iterable<string> | 'all'): void
  state (state: 'up' | 'down', why?: Error): void
}

export interface Adapter {
  readonly name: string
  start (sink: Sink): Promise<void>
  /**
   * Atomic: linked, stored and announced, or nothing. A node's calls for one topic keep their order, over retries too.
   * The id is empty where a key was to be removed that holds nothing: nothing is appended then.
   */
  publish (topic: string, name: string, data: Uint8Array, options: AppendOptions): Promise<{ id: EventId }>
  ephemeral (topic: string, event: EphemeralEvent): Promise<void>
  /** Resolves with a head read after the subscription is live; later events reach the sink, or `suspect` is called. */
  subscribe (topic: string, durable: boolean): Promise<EventId>
  unsubscribe (topic: string): void
  /**
   * Reads what the store holds now. An unknown `after` gives `linked: false`, never an error; `after: null` reads from
   * the oldest event kept. The adapter caches nothing: the hub does that.
   */
  read (topic: string, after: EventId | null, limits: ReadLimits): Promise<Page>
  /** The last id of each; null where nothing was ever published, or nothing is known of it any more. */
  heads (topics: string[]): Promise<Array<EventId | null>>
  close (): Promise<void>
  /** How many nodes listen to a topic. Without it this node is the only one. */
  nodes? (topic: string): Promise<number>
  /** What is going on, for `realtime.stats()`. */
  stats? (): Record<string, unknown>
}

/** Who alone may append to a topic (the node that runs a source). A lease: it ends `ms` after it was claimed last. */
export interface Ownership {
  /** Claims the topic, or claims it again. Resolves with the owner that it has now. */
  claim (topic: string, owner: string, ms: number): Promise<string>
  /** Undefined when it belongs to nobody. */
  owner (topic: string): Promise<string | undefined>
  /** Gives it back, or on to `next`, if it was this owner's. */
  release (topic: string, owner: string, next?: { owner: string, ms: number }): Promise<void>
}

/**
 * The states of keyed topics: the newest event of each key, written in the same step as the log. State and log are one
 * piece: where one of them is lost, the other is too, and the log begins anew.
 */
export interface KeyedStates {
  /**
   * A part of a topic's state, of about `count` keys; `from` is null or the `next` of the part before. A key that holds
   * an event all the while is in some part at least once; others may be. Parts are read at different times: each says
   * where the log was then. A put that would pass the topic's bounds is refused with a StateFull.
   */
  state (topic: string, from: string | null, count: number): Promise<StatePage>
}

/** The states that an adapter keeps; without them it carries no keyed topics. */
export function keyedStatesOf (adapter: Adapter & Partial<KeyedStates>): KeyedStates | undefined {
  return adapter.state ? adapter as KeyedStates : undefined
}

/** A topic whose state is who is there, and the topic that it is about. */
export interface MemberTopic {
  readonly topic: string
  readonly subject: string
  /** The name of its events. Their data is `{ topic, type, … }`: see PROTOCOL.md. */
  readonly event: string
  /** `count`: its events say how many there are, not who. */
  readonly mode: 'members' | 'count'
  readonly maxMembers: number
  /** ms that a member stays whose node has died. */
  readonly grace: number
  readonly retention: Retention
}

export type LeaveReason = 'left' | 'lost' | 'removed'

/**
 * What a node says of one member: it is there, as `data` shows it (JSON), or it is not. `theirs`: where others hold it
 * already, it goes on being shown as they show it.
 */
export type Holding =
  | { readonly is: 'there', readonly data: string, readonly shows: 'ours' | 'theirs' }
  | { readonly is: 'gone', readonly reason: LeaveReason }

/** What a node has appended. At most once for each change in all nodes together. */
export type MemberChange =
  | { readonly type: 'join', readonly members: readonly string[] }
  | { readonly type: 'leave', readonly ids: readonly string[], readonly reason: LeaveReason }

/**
 * Members of topics, held by the nodes that they are connected to. A member is there while some node holds it; a node
 * that dies holds nothing any more. The state of such a topic is a keyed one (see KeyedStates), and its events link
 * like any others: whoever reads the state and follows the log knows at each moment who is there.
 */
export interface MemberStore {
  /** ms after which a state that has begun anew says who is there. */
  readonly settle: number
  /**
   * Called once, before anything is held. `told`: of what this node has appended. `describe`: a topic by its name,
   * where this node has it declared; only then can it reap what a dead node held there.
   */
  watch (
    told: (topic: MemberTopic, change: MemberChange) => void, describe: (topic: string) => MemberTopic | undefined
  ): void
  /**
   * What this node holds from here on. Never rejects: while the store is away it is kept, and said when that is back.
   */
  hold (topic: MemberTopic, id: string, holding: Holding): void
  /** The topic's log has begun anew: what this node holds there may be lost, and is compared. */
  doubt (topic: string): void
  /** Resolves when what was said of the topic is in the store. */
  held (topic: string): Promise<void>
}

export function memberStoreOf (adapter: Adapter & { members?: MemberStore }): MemberStore | undefined {
  return adapter.members
}

/**
 * Marks that every node is to know, those that start later too: for each key the latest moment. The adapter keeps them;
 * who makes one tells the other nodes himself.
 */
export interface Marks {
  /**
   * Keeps the moment (ms since the epoch) for so many ms behind it, unless a later one is kept for this key. Resolves
   * once it is kept; with false where `most` other keys are kept already, and then nothing is.
   */
  mark (space: string, key: string, at: number, ms: number, most: number): Promise<boolean>
  /** All that are kept. What is none of ours is left out. */
  marks (space: string): Promise<ReadonlyMap<string, number>>
}

/** The marks that an adapter keeps; without them a node that starts later knows nothing of those made before. */
export function marksOf (adapter: Adapter & Partial<Marks>): Marks | undefined {
  return adapter.mark && adapter.marks ? adapter as Marks : undefined
}

/** The ownership that an adapter offers; without it this node is the only one that runs sources. */
export function ownershipOf (adapter: Adapter & Partial<Ownership>): Ownership | undefined {
  return adapter.claim && adapter.owner && adapter.release ? adapter as Ownership : undefined
}
