/** What a schema makes of data. */
import type { FastifyTypeProvider } from 'fastify'

/** Event name → JSON schema. */
export type EventSchemas = Record<string, unknown>

/** What a schema makes of data that is written. */
export type Written<Provider, Schema> =
  Provider extends FastifyTypeProvider ? (Provider & { schema: Schema })['serializer'] : unknown

/** What a schema makes of data that was validated. */
export type Validated<Provider, Schema> =
  Provider extends FastifyTypeProvider ? (Provider & { schema: Schema })['validator'] : unknown

/** Event name → data type; anything goes when a topic declares no events. */
export type EventsOf<Schemas, Provider> =
  [Schemas] extends [never] ? Record<string, unknown> : { [K in keyof Schemas]: Written<Provider, Schemas[K]> }
