/**
 * A stream's place in an OpenAPI document (@fastify/swagger): `text/event-stream` with its events' schemas. It is put
 * where only a document finds it: a stream is no JSON, and the app's serializer compiler may refuse JSON schema
 * (zod's).
 */
import type { TopicRegistry } from '../../core/topics/registry.ts'
import { declaredOf } from '../../routes/declared-of.ts'

type Schema = Record<string, unknown>

/** `plain`: JSON schema is what the app describes its routes by. */
export function documentEvents (schema: Schema, topics: unknown, registry: TopicRegistry, plain: boolean): Schema {
  const response = (schema.response ?? {}) as Schema
  if ('200' in response || '2xx' in response) return schema
  const schemas = [topics].flat().flatMap((one) => eventSchemas(one, registry))
  const events = plain
    ? oneOfThese(schemas.filter(([, data]) => isPlain(data)))
    : unionOf(schemas.map(([, data]) => data).filter((data) => !isPlain(data)))
  if (events === undefined) return schema
  return {
    ...schema,
    response: {
      ...response,
      200: { description: 'A stream of server-sent events', content: { 'text/event-stream': { schema: events } } }
    }
  }
}

function eventSchemas (one: unknown, registry: TopicRegistry): Array<[event: string, data: unknown]> {
  return Object.entries(declaredOf(registry, one)?.policy.schemas ?? {})
}

function oneOfThese (events: Array<[event: string, data: unknown]>): Schema {
  if (events.length === 0) return { type: 'string' }
  return {
    oneOf: events.map(([event, data]) => ({
      type: 'object',
      properties: { id: { type: 'string' }, event: { type: 'string', const: event }, data },
      required: ['event', 'data']
    }))
  }
}

interface Uniting { or? (other: unknown): unknown }

/**
 * The data of the events, as the app's own library unites schemas (zod's `or`); undefined where it has no word for it.
 */
function unionOf ([first, ...others]: unknown[]): unknown {
  let union = first as Uniting | undefined
  for (const other of others) {
    if (typeof union?.or !== 'function') return undefined
    union = union.or(other) as Uniting
  }
  return union
}

/** Anything but a JSON schema (zod …) cannot be put into a document here. */
function isPlain (schema: unknown): boolean {
  return typeof schema === 'object' && schema !== null &&
    !('~standard' in schema) && Object.getPrototypeOf(schema) === Object.prototype
}
