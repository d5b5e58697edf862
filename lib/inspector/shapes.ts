/** What the page asks, and what it is told: as types alone, for both sides. */

export type WireName = 'sse' | 'websocket' | 'process'
/** What may be done to a client, or with `restart` to all clients of a node. */
export type Act = 'drop' | 'expire' | 'stall' | 'release' | 'restart'

/** One node, as it is now. Counters are those since its start. */
export interface NodeView {
  node: string
  /** ms that it has not answered for; 0 where it has. The rest is what it said last. */
  silent: number
  /** ms since it started. */
  uptime: number
  /** The inspector's own connections are left out. */
  connections: Record<WireName, number>
  topics: number
  published: number
  delivered: number
  replayed: number
  recovered: number
  resets: number
  /** Since somebody looks. */
  resetReasons: Record<string, number>
  slowClosed: number
  dropped: number
  refused: number
  /** Clients for which bytes wait, and those that are stalled. */
  slowNow: number
  stalled: number
  adapter: { name: string, state: string }
}

export interface TopicRow { name: string, pattern: string, listeners: number, node: string }

export interface ConnectionRow {
  node: string
  id: string
  kind: WireName
  identity: string
  anonymous: boolean
  address: string
  url: string
  /** ms since it was let in, and since it last gave a sign of life; -1 before the first. */
  age: number
  beat: number
  buffered: number
  stalled: boolean
  topics: string[]
  /** It has so many more topics than are told here. */
  more: number
  /** It is the inspector's own. */
  own: boolean
}

/** `cut`: not all is here. `silent`: nodes that have not answered. */
export interface Rows<Row> { rows: Row[], cut: boolean, silent: string[] }

/** A JSON schema, or why there is none to show. */
export type ShownSchema = { schema: unknown } | { note: string }

export interface ShownTopic {
  pattern: string
  params: string[]
  events: Record<string, ShownSchema> | null
  keyed: boolean
  presence: false | 'members' | 'count'
  authorize: string
  history: { limit: number, maxAge: number, maxBytes: number } | null
  snapshot: boolean
  coalesce: number
}

export interface ShownRoute {
  kind: 'stream' | 'channel'
  urls: string[]
  methods: string[]
  topics: string[]
  dynamic: boolean
  subscribe: string[]
  source: boolean
  binary: boolean
  http: boolean
  messages: Record<string, ShownSchema & { relayed: boolean }>
  schema: Record<string, ShownSchema>
}

export interface Description {
  here: string
  topics: ShownTopic[]
  routes: ShownRoute[]
  /** What references lead to (`#/components/schemas/…`), by name. */
  shared: Record<string, ShownSchema>
}

export interface PastEvent { id: string, event: string, data: unknown, key?: string }
/**
 * The last of the `read` events that were read, from the oldest kept on. `newer`: the history is longer than is read at
 * one time, and there are newer ones.
 */
export interface Past { events: PastEvent[], read: number, newer: boolean }

/** Of a live tail. */
export interface TailEvent {
  topic: string
  event: string
  data: unknown
  id: string | null
  key: string | null
}

/** Somebody has done this by an inspector, on whichever node. */
export interface Acted { act: Act | 'end' | 'take', node: string, connection: string, topic: string }

/** One event to be checked against the schemas of the topics that it may be of: their patterns, or its own name. */
export interface ToCheck { patterns: string[], event: string, data: unknown }
