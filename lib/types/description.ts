/** What an app has declared, as plain values, for documents and tools. */

/** One declared topic. */
export interface TopicDescription {
  /** The pattern that it was declared with. */
  pattern: string
  /** The names of its params. That of `*` is `*`. */
  params: string[]
  /** The schemas of its events as they were given, by name. Undefined if it takes any event. */
  events: Record<string, unknown> | undefined
  /** False for `history: false`. */
  history: boolean
  /** Whether it keeps the newest event of each key. */
  keyed: boolean
  /** False, or whether clients are told the members or only their number. */
  presence: false | 'members' | 'count'
  /** Schemas that the app has put into its scope by `addSchema()`, by their `$id`. */
  shared: Record<string, unknown>
}

/** One message that clients of a channel may send. */
export interface MessageDescription {
  /** Its schema as it was given. */
  schema: unknown
  /** True: it is sent on to others, and gets no reply. */
  relayed: boolean
}

/** One stream or channel. */
export interface RouteDescription {
  /** Which of the two it is. */
  kind: 'stream' | 'channel'
  /** Its URLs, with the prefixes of its scope. There are several if Fastify made several routes of it. */
  urls: string[]
  /** Its HTTP methods. Only `GET` for a channel, even if `http` is true. */
  methods: string[]
  /** Patterns of its topics. */
  topics: string[]
  /** True: a function returns the topics for each request, so `topics` is empty. */
  dynamic: boolean
  /** Patterns of the topics that clients of a channel may join. */
  subscribe: string[]
  /** True: it sends what a source yields, and has no topics. */
  source: boolean
  /** What clients of a channel may send, by name. */
  messages: Record<string, MessageDescription>
  /** Whether a channel takes binary messages. */
  binary: boolean
  /** Whether a channel is served over HTTP too. */
  http: boolean
  /** Its schemas of params, querystring and headers, as they were given. */
  schema: Record<string, unknown>
  /** Schemas that the app has put into its scope by `addSchema()`, by their `$id`. */
  shared: Record<string, unknown>
}

/** What `realtime.describe()` returns. */
export interface RealtimeDescription {
  topics: TopicDescription[]
  routes: RouteDescription[]
}
