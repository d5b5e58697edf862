/** What the app has declared, kept for those who ask (`realtime.describe()`). */
import type { FastifyInstance } from 'fastify'
import type { TopicRegistry } from '../core/topics/registry.ts'
import type { RealtimeDescription, RouteDescription, TopicDescription } from '../types/description.ts'
import type { MadeRoute } from './collector.ts'
import { declaredOf } from './declared-of.ts'

/** Its `topics` and `subscribe` are the options as they were given. */
export interface RouteDeclaration extends Pick<RouteDescription, 'kind' | 'source' | 'binary' | 'http'> {
  readonly scope: Pick<FastifyInstance, 'getSchemas'>
  readonly made: readonly MadeRoute[]
  readonly topics: unknown
  readonly subscribe: unknown
  readonly messages: Record<string, { schema?: unknown, relay?: unknown }>
  readonly schema: Record<string, unknown>
}

export interface TopicDeclaration extends Omit<TopicDescription, 'shared'> {
  readonly scope: Pick<FastifyInstance, 'getSchemas'>
}

/** The schemas of a scope, read once: they are one object for all that is declared in it. */
type SharedOf = (scope: Pick<FastifyInstance, 'getSchemas'>) => Record<string, unknown>

export class Declarations {
  readonly topics: TopicDeclaration[] = []
  readonly routes: RouteDeclaration[] = []

  /** What is declared meanwhile is in no description: it is no part of the app. */
  apart (declare: () => void): void {
    const [topics, routes] = [this.topics.length, this.routes.length]
    declare()
    this.topics.length = topics
    this.routes.length = routes
  }

  describe (registry: TopicRegistry): RealtimeDescription {
    const known = new Map<object, Record<string, unknown>>()
    const sharedOf: SharedOf = (scope) => {
      let shared = known.get(scope)
      if (!shared) known.set(scope, shared = scope.getSchemas())
      return shared
    }
    return {
      topics: this.topics.map(({ scope, ...topic }) =>
        ({ ...topic, params: [...topic.params], shared: sharedOf(scope) })),
      routes: this.routes.map((route) => ({ ...describeRoute(route, registry), shared: sharedOf(route.scope) }))
    }
  }
}

function describeRoute (route: RouteDeclaration, registry: TopicRegistry): Omit<RouteDescription, 'shared'> {
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
