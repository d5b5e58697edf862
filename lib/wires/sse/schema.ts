/**
 * A stream's place in an OpenAPI document (@fastify/swagger): `text/event-stream` with its events' schemas. It is put
 * where only a document finds it: a stream is no JSON, and the app's serializer compiler may refuse JSON schema
 * (zod's).
 */
import type { TopicRegistry } from '../../core/topics/registry.ts'
import type { DeclaredTopic } from '../../core/topics/topic.ts'
import { declaredOf } from '../../routes/declared-of.ts'
import { BY_EVENT } from './item-schemas.ts'

type Schema = Record<string, unknown>

export interface Documented {
  readonly topics: unknown
  readonly registry: TopicRegistry
  /** JSON schema is what the app describes its routes by. */
  readonly plain: boolean
  /** The name of the events that say who is in a topic, where clients of the route are told. */
  presenceEvent (topic: DeclaredTopic): string | undefined
}

export function documentEvents (schema: Schema, { topics, registry, plain, presenceEvent }: Documented): Schema {
  const response = (schema.response ?? {}) as Schema
  if ('200' in response || '2xx' in response) return schema
  const declared = [topics].flat().flatMap((one) => declaredOf(registry, one) ?? [])
  const media = plain ? mediaOf(declared, presenceEvent) : foreignMediaOf(declared)
  if (media === undefined) return schema
  return {
    ...schema,
    response: {
      ...response,
      200: { description: 'A stream of server-sent events', content: { 'text/event-stream': media } }
    }
  }
}

function eventsOf ({ policy: { schemas = {} } }: DeclaredTopic): Array<[event: string, data: unknown]> {
  return Object.entries(schemas)
}

/** Each event as a client that has parsed it has it. */
function mediaOf (topics: DeclaredTopic[], presenceEvent: Documented['presenceEvent']): Schema {
  const events = new Map<string, Schema[]>()
  for (const topic of topics) {
    for (const [event, data] of eventsOf(topic)) if (isPlain(data)) add(events, event, data as Schema)
  }
  if (events.size === 0) return { schema: { type: 'string' } }
  const states = topics.flatMap((topic) => [topic.policy.keyed?.event, presenceEvent(topic)])
  for (const event of states) {
    if (event !== undefined && !event.startsWith('realtime:')) add(events, event, { type: 'object' })
  }
  const known = [...events].map(([event, data]) => eventSchema(event, data))
  // Of a topic without `events` anything may come.
  const others = topics.every(({ policy }) => policy.schemas) ? [] : [otherThan([...events.keys()])]
  return { schema: { oneOf: [...known, ...others, OWN] }, [BY_EVENT]: true }
}

function add (events: Map<string, Schema[]>, event: string, data: Schema): void {
  events.set(event, [...events.get(event) ?? [], data])
}

/** An event named `message` has no name on the wire. `enum`: OpenAPI 3.0 has no `const`. */
function eventSchema (event: string, [data, ...others]: Schema[]): Schema {
  return {
    type: 'object',
    // Topics that have an event of this name, each with a schema of its own.
    properties: {
      id: ID,
      event: { type: 'string', enum: [event] },
      data: others.length > 0 ? { anyOf: [data, ...others] } : data
    },
    required: event === 'message' ? ['data'] : ['event', 'data']
  }
}

const ID = { type: 'string', description: 'Send the last one as Last-Event-ID to go on behind it' }
const OWN_NAME = { type: 'string', pattern: '^realtime:' }

function otherThan (events: string[]): Schema {
  const event = { type: 'string', not: { anyOf: [{ enum: events }, OWN_NAME] } }
  return { type: 'object', properties: { id: ID, event, data: {} }, required: ['event', 'data'] }
}

/** What the protocol says besides. */
const OWN = {
  type: 'object',
  description: 'The server\'s own: the stream is live, events were lost, a state, who is there',
  properties: { id: ID, event: OWN_NAME, data: { type: 'object' }, retry: { type: 'integer', minimum: 0 } },
  required: ['event', 'data']
}

/** The data alone: other libraries' schemas cannot be put into one of JSON. */
function foreignMediaOf (topics: DeclaredTopic[]): Schema | undefined {
  const union = unionOf(topics.flatMap(eventsOf).map(([, data]) => data).filter((data) => !isPlain(data)))
  return union === undefined ? undefined : { schema: union }
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
