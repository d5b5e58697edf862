/** What the app has declared, as the page shows it. */
import { JsonSchemas, keyOf, type ToJsonSchema } from '../asyncapi/json-schemas.ts'
import type { Insight } from '../insight.ts'
import type { Realtime } from '../types/realtime.ts'
import type { Description, ShownSchema } from './shapes.ts'

export function describeFor (
  realtime: Realtime, insight: Insight, shared: Record<string, unknown>, convert: ToJsonSchema | undefined
): Description {
  const schemas = new JsonSchemas(convert, Object.keys(shared))
  const show = (schema: unknown): ShownSchema => shown(schemas, schema)
  const each = (all: Record<string, unknown>): Record<string, ShownSchema> =>
    Object.fromEntries(Object.entries(all).map(([name, schema]) => [name, show(schema)]))
  const policies = new Map(insight.policies().map((policy) => [policy.pattern, policy]))
  const { topics, routes } = realtime.describe()
  return {
    here: insight.node,
    topics: topics.map(({ pattern, params, events, keyed, presence }) => {
      const policy = policies.get(pattern)
      return {
        pattern,
        params,
        events: events ? each(events) : null,
        keyed,
        presence,
        authorize: policy?.authorize ?? 'its routes',
        history: policy?.history ?? null,
        snapshot: policy?.snapshot ?? false,
        coalesce: policy?.coalesce ?? 0
      }
    }),
    routes: routes.map(({ messages, schema, ...route }) => ({
      ...route,
      messages: Object.fromEntries(Object.entries(messages).map(([name, message]) =>
        [name, { ...show(message.schema), relayed: message.relayed }])),
      schema: each(schema)
    })),
    shared: Object.fromEntries(Object.entries(shared).map(([id, schema]) => [keyOf(id), show(schema)]))
  }
}

/** A page that shows the rest is better than none. */
function shown (schemas: JsonSchemas, schema: unknown): ShownSchema {
  try {
    const made = schemas.of(schema, 'this')
    // What cannot be written as JSON cannot be sent to the page.
    return { schema: JSON.parse(JSON.stringify(made)) as unknown }
  } catch {
    return { note: 'This is no JSON schema. The inspector\'s option jsonSchema makes one: z.toJSONSchema for zod.' }
  }
}
