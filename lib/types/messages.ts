/** A channel's messages as a value of their own, whose type says what clients may send and what is answered. */
import type { MessageContext, RelayData, RelayOptions } from './channel.ts'
import type { Validated } from './schemas.ts'

type SchemaOf<Schemas, K> = K extends keyof Schemas ? Schemas[K] : unknown

/** What `defineMessages` takes. */
export type MessageDefinitions<Provider, Schemas, Replies> =
  & { [K in keyof Schemas]: { schema?: Schemas[K] } }
  & {
    [K in keyof Replies]: {
      /** Its data is what the schema makes of it. What it returns is the reply. */
      handler?: (data: Validated<Provider, SchemaOf<Schemas, K>>, context: MessageContext) => Replies[K]
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
