/** What the app has declared, kept for those who ask (`realtime.describe()`). */
import type { TopicRegistry } from '../core/topics/registry.ts'
import type { RealtimeDescription, RouteDescription, TopicDescription } from '../types/description.ts'
import type { MadeRoute } from './collector.ts'
import { declaredOf } from './declared-of.ts'

/** Its `topics` and `subscribe` are the options as they were given. */
export interface RouteDeclaration extends Pick<RouteDescription, 'kind' | 'source' | 'binary' | 'http'> {
  readonly made: readonly MadeRoute[]
  readonly topics: unknown
  readonly subscribe: unknown
  readonly messages: Record<string, { schema?: unknown, relay?: unknown }>
  readonly schema: Record<string, unknown>
}

export class Declarations {
  readonly topics: TopicDescription[] = []
  readonly routes: RouteDeclaration[] = []

  describe (registry: TopicRegistry): RealtimeDescription {
    return {
      topics: this.topics.map((topic) => ({ ...topic, params: [...topic.params] })),
      routes: this.routes.map((route) => describeRoute(route, registry))
    }
  }
}

function describeRoute (route: RouteDeclaration, registry: TopicRegistry): RouteDescription {
  const { kind, made, topics, subscribe, source, binary, http, messages, schema } = route
  const patterns = (value: unknown): string[] =>
    [value].flat().flatMap((one) => declaredOf(registry, one)?.pattern ?? [])
  const shown = made.filter(({ method }) => method !== 'HEAD')
  return {
    kind,
    urls: [...new Set(shown.map(({ url }) => url))],
    methods: [...new Set(shown.flatMap(({ method }) => method))],
    topics: patterns(topics),
    dynamic: typeof topics === 'function',
    subscribe: patterns(subscribe),
    source,
    binary,
    http,
    messages: Object.fromEntries(Object.entries(messages).map(([name, { schema, relay }]) =>
      [name, { schema, relayed: relay !== undefined && relay !== false }])),
    schema: Object.fromEntries(['params', 'querystring', 'headers', 'body'].flatMap((part) =>
      schema[part] === undefined ? [] : [[part, schema[part]]]))
  }
}
