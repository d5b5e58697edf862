/** What the app has declared, as the page shows it. */
import { JsonSchemas, type Shared, type ToJsonSchema } from '../asyncapi/json-schemas.ts'
import type { Insight } from '../insight.ts'
import type { Realtime } from '../types/realtime.ts'
import type { RouteDescription, TopicDescription } from '../types/description.ts'
import type { Description, ShownRoute, ShownSchema, ShownTopic } from './shapes.ts'

export function describeFor (realtime: Realtime, insight: Insight, convert: ToJsonSchema | undefined): Description {
  const schemas = new Schemas(convert)
  const policies = new Map(insight.policies().map((policy) => [policy.pattern, policy]))
  const { topics, routes } = realtime.describe()
  return {
    here: insight.node,
    topics: topics.map((topic) => topicOf(topic, policies.get(topic.pattern), schemas)),
    routes: routes.map((route) => routeOf(route, schemas)),
    // What references of the schemas above lead to: known once all of them are made.
    shared: schemas.components
  }
}

function topicOf (
  topic: TopicDescription, policy: ReturnType<Insight['policies']>[number] | undefined, schemas: Schemas
): ShownTopic {
  const { pattern, params, events, keyed, presence, shared } = topic
  return {
    pattern,
    params,
    events: events ? schemas.each(events, shared) : null,
    keyed,
    presence,
    authorize: policy?.authorize ?? 'its routes',
    history: policy?.history ?? null,
    snapshot: policy?.snapshot ?? false,
    coalesce: policy?.coalesce ?? 0
  }
}

function routeOf ({ messages, schema, shared, ...route }: RouteDescription, schemas: Schemas): ShownRoute {
  return {
    ...route,
    messages: Object.fromEntries(Object.entries(messages).map(([name, message]) =>
      [name, { ...schemas.show(name, message.schema, shared), relayed: message.relayed }])),
    schema: schemas.each(schema, shared)
  }
}

class Schemas {
  readonly #schemas: JsonSchemas

  constructor (convert: ToJsonSchema | undefined) {
    this.#schemas = new JsonSchemas(convert)
  }

  get components (): Record<string, ShownSchema> {
    return Object.fromEntries(Object.entries(this.#schemas.components).map(([name, schema]) => [name, plain(schema)]))
  }

  each (all: Record<string, unknown>, shared: Shared): Record<string, ShownSchema> {
    return Object.fromEntries(Object.entries(all).map(([name, schema]) => [name, this.show(name, schema, shared)]))
  }

  /** A page that shows the rest is better than none. */
  show (name: string, schema: unknown, shared: Shared): ShownSchema {
    try {
      return plain(this.#schemas.of(schema, { where: name, name, shared }))
    } catch {
      return { note: 'This is no JSON schema. The inspector\'s option jsonSchema makes one: z.toJSONSchema for zod.' }
    }
  }
}

/** What cannot be written as JSON cannot be sent to the page. */
function plain (schema: unknown): ShownSchema {
  return { schema: JSON.parse(JSON.stringify(schema)) as unknown }
}
