/** A channel's messages as a value, whose type says what clients may send and what replies they get. */
import type { MessageContext, RelayData, RelayOptions } from './channel.ts'
import type { Validated } from './schemas.ts'

type SchemaOf<Schemas, K> = K extends keyof Schemas ? Schemas[K] : unknown

/** The messages that `defineMessages` takes, by name. */
export type MessageDefinitions<Provider, Schemas, Replies> =
  & { [K in keyof Schemas]: { schema?: Schemas[K] } }
  & {
    [K in keyof Replies]: {
      /** Handles the message. `data` was validated by the schema. What it returns is the reply. */
      handler?: (data: Validated<Provider, SchemaOf<Schemas, K>>, context: MessageContext) => Replies[K]
      /** Sends the message on to others, as in {@link MessageOptions}. */
      relay?: true | RelayData<SchemaOf<Schemas, K>, Provider, Record<string, string>> |
        RelayOptions<SchemaOf<Schemas, K>, Provider, Record<string, string>>
    }
  }

export type MessagesOfDefinitions<Provider, Schemas, Replies> = {
  [K in keyof Schemas | keyof Replies]: {
    data: Validated<Provider, SchemaOf<Schemas, K>>
    reply: K extends keyof Replies ? Awaited<Replies[K]> : unknown
  }
}
