/** What an app has declared, as plain values: for documents, tools and pages. */

export interface TopicDescription {
  pattern: string
  /** The names of its params; that of `*` is `*`. */
  params: string[]
  /** The schemas of its events as they were given, by name; undefined where any event goes. */
  events: Record<string, unknown> | undefined
  history: boolean
  keyed: boolean
  presence: false | 'members' | 'count'
  /** Schemas that `addSchema()` has put into its scope, by their `$id`. */
  shared: Record<string, unknown>
}

export interface MessageDescription {
  /** As it was given. */
  schema: unknown
  /** It is relayed to others, and nobody answers. */
  relayed: boolean
}

export interface RouteDescription {
  kind: 'stream' | 'channel'
  /** With the prefixes of its scope. Several, where Fastify made several routes of it. */
  urls: string[]
  /** `GET` alone for a channel, also where `http` is true. */
  methods: string[]
  /** Patterns of the topics that it hears. */
  topics: string[]
  /** A function says which topics at each request: `topics` has none of them. */
  dynamic: boolean
  /** Patterns of topics that clients of a channel may join. */
  subscribe: string[]
  /** It tells what a source yields, and no topic. */
  source: boolean
  /** What clients of a channel may say, by name. */
  messages: Record<string, MessageDescription>
  /** A channel that takes bytes. */
  binary: boolean
  /** A channel that is there over HTTP, too. */
  http: boolean
  /** The schemas of params, querystring and headers as they were given. */
  schema: Record<string, unknown>
  /** Schemas that `addSchema()` has put into its scope, by their `$id`. */
  shared: Record<string, unknown>
}

export interface RealtimeDescription {
  topics: TopicDescription[]
  routes: RouteDescription[]
}
