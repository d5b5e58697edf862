/** A stream's place in an OpenAPI document (@fastify/swagger): `text/event-stream` with its events' schemas. */
import { DeclaredTopic, type TopicRegistry } from '../../core/topic.ts'
import { isTopicAt } from '../routes.ts'

type Schema = Record<string, unknown>

export function documentEvents (schema: Schema | undefined, topics: unknown, registry: TopicRegistry): Schema {
  const response = (schema?.response ?? {}) as Schema
  if ('200' in response || '2xx' in response) return schema as Schema
  const events = [topics].flat().flatMap((one) => eventSchemas(one, registry))
  const content = { 'text/event-stream': { schema: events.length > 0 ? { oneOf: events } : { type: 'string' } } }
  return { ...schema, response: { ...response, 200: { description: 'A stream of server-sent events', content } } }
}

function eventSchemas (one: unknown, registry: TopicRegistry): Schema[] {
  const topic = one instanceof DeclaredTopic ? one : isTopicAt(one) ? one.topic : typeof one === 'string' ? registry.byPattern(one) : undefined
  return Object.entries(topic?.policy.schemas ?? {})
    .filter(([, schema]) => isPlain(schema))
    .map(([event, data]) => ({
      type: 'object',
      properties: { id: { type: 'string' }, event: { type: 'string', const: event }, data },
      required: ['event', 'data']
    }))
}

/** Anything but a JSON schema (zod …) cannot be put into a document here. */
function isPlain (schema: unknown): boolean {
  return typeof schema === 'object' && schema !== null && !('~standard' in schema) && Object.getPrototypeOf(schema) === Object.prototype
}
