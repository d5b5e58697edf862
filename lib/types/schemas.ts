/** The types that schemas give to data. */
import type { FastifyTypeProvider } from 'fastify'

/** A schema for each event name, in any schema language that the app's compilers accept. */
export type EventSchemas = Record<string, unknown>

/** The type of data that is serialized by a schema. */
export type Written<Provider, Schema> =
  Provider extends FastifyTypeProvider ? (Provider & { schema: Schema })['serializer'] : unknown

/** The type of data that was validated by a schema. */
export type Validated<Provider, Schema> =
  Provider extends FastifyTypeProvider ? (Provider & { schema: Schema })['validator'] : unknown

/** The type of the data of each event. If a topic declares no events, any event with any data is allowed. */
export type EventsOf<Schemas, Provider> =
  [Schemas] extends [never] ? Record<string, unknown> : { [K in keyof Schemas]: Written<Provider, Schemas[K]> }
