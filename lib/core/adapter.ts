/** The adapter contract: what joins nodes and keeps history. Proven by the suite of lib/conformance/adapter.ts. */

export type Id = string

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
 * One event of a linked log. `prev` is the id of the event before it in its topic; the first one's is the
 * log's genesis, which is never used again: a log that was lost and begins anew has another.
 */
export interface LogEvent {
  readonly id: Id
  readonly prev: Id
  readonly name: string
  readonly data: Uint8Array
  readonly format: Format
  /** Which older event of this name it replaces for a conflating listener. */
  readonly key?: string
  /** Who does not get it live. */
  readonly except?: Except
}

/** An event of a topic without history: at most once. */
export interface EphemeralEvent {
  readonly name: string
  readonly data: Uint8Array
  readonly format: Format
  readonly key?: string
  readonly except?: Except
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
  /** Appending again under this key within `retention.maxAge` returns the first id and appends nothing. */
  dedupe?: string
  /** ms after which the whole log is forgotten, its head excepted, unless it is appended to again. */
  lifetime?: number
  /**
   * Appends only if this is the topic's last id; null: only if it has no events (its head is a genesis). Else nothing
   * is appended, and the publish rejects with a Conflict. What `dedupe` knows already is no conflict.
   */
  expect?: Id | null
  /** Appends only while the topic belongs to this owner (see Ownership). */
  owner?: string
}

export interface ReadLimits { count: number, bytes: number }

/** What a read found. */
export interface Page {
  /** The log's last id (or its genesis), read before the events: what came later may be in `events` too. */
  head: Id
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
   */
  publish (topic: string, name: string, data: Uint8Array, options: AppendOptions): Promise<{ id: Id }>
  ephemeral (topic: string, event: EphemeralEvent): Promise<void>
  /** Resolves with a head read after the subscription is live; later events reach the sink, or `suspect` is called. */
  subscribe (topic: string, durable: boolean): Promise<Id>
  unsubscribe (topic: string): void
  /**
   * Reads what the store holds now. An unknown `after` gives `linked: false`, never an error; `after: null` reads from
   * the oldest event kept. The adapter caches nothing: the hub does that.
   */
  read (topic: string, after: Id | null, limits: ReadLimits): Promise<Page>
  /** The last id of each; null where nothing was ever published, or nothing is known of it any more. */
  heads (topics: string[]): Promise<Array<Id | null>>
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
