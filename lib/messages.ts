/** `defineMessages`: a channel's messages as a value, whose type a client can import. */
import type { FastifyInstance, FastifyTypeProvider } from 'fastify'
import type { DefinedMessages } from './types/defined-messages.ts'
import type { MessageDefinitions, MessagesOfDefinitions } from './types/messages.ts'

// eslint-disable-next-line @typescript-eslint/no-explicit-any -- an instance is assignable to no narrower type
type AnyApp<Provider extends FastifyTypeProvider> = FastifyInstance<any, any, any, any, Provider>

/**
 * Returns the messages for `app.channel(url, { messages })` as they are. Their type says what clients send and what
 * replies they get: give it to `connect<…>()` of `fastify-realtime/client`. `app` is needed for its type provider,
 * which says what schemas mean.
 */
export function defineMessages<Provider extends FastifyTypeProvider, const Schemas, Replies> (
  _app: AnyApp<Provider>, messages: MessageDefinitions<Provider, Schemas, Replies>
): DefinedMessages<MessagesOfDefinitions<Provider, Schemas, Replies>> {
  // Only a type: at run time there is no such property.
  return messages as typeof messages & DefinedMessages<MessagesOfDefinitions<Provider, Schemas, Replies>>
}
