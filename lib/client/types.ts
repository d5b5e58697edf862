/** What a client knows of a server's topics and messages. These are types only. */
import type { Member, Topic } from '../types/topic.ts'
import type { DefinedMessages } from '../types/defined-messages.ts'
import type { ParamsOf } from '../types/params.ts'
import type { ResetReason } from '../protocol.ts'
import type { StateEntry } from './topic.ts'
import type { Store } from './store.ts'

/** The default of `connect()`: any topic, any event and any message. */
// eslint-disable-next-line @typescript-eslint/no-explicit-any -- a concrete Topic is assignable to no narrower type
type Any = any
export type Untyped = Record<string, Topic<Any, Any, Any, Any> | DefinedMessages<Any>>

type TopicsOf<Api> = Extract<Api[keyof Api], { readonly pattern: string }>
/** The patterns of an app's topics. */
export type PatternsOf<Api> = TopicsOf<Api>['pattern']
type HasPattern<T, Pattern> = T extends { readonly pattern: infer Own } ? [Pattern] extends [Own] ? T : never : never
type Named<Api, Pattern> = HasPattern<TopicsOf<Api>, Pattern>

type EventsOf<T> = T extends Topic<Any, infer Events, Any, Any> ? Events : never
type MemberOf<T> = T extends Topic<Any, Any, infer Shown, Any> ? Shown : Member

/** All messages that an app's channels take, by name. */
export type MessagesOf<Api> =
  Api[keyof Api] extends infer Each ? Each extends DefinedMessages<infer Messages> ? Messages : never : never

type Data<Messages, Name> = Messages extends Record<Name & string, { data: infer D }> ? D : never
type Reply<Messages, Name> = Messages extends Record<Name & string, { reply: infer R }> ? R : never
type NameOf<Messages> = Messages extends unknown ? keyof Messages & string : never

/** An event of a topic. */
export interface ClientEvent<Name extends string = string, Data = unknown> {
  /** The full name of the topic. */
  topic: string
  event: Name
  data: Data
  /** Undefined if the event is in no history: a relayed event, or a topic with `history: false`. */
  id: string | undefined
  /** The event's key, in a keyed topic. */
  key: string | undefined
  /**
   * The trace of the publish, as W3C Trace Context writes it. Undefined if the event was published without a trace, or
   * if the server does not send it (`propagateToClients` of `fastify-realtime/tracing`).
   */
  traceparent: string | undefined
}

/** An event for this connection alone: the server's `connection.send(event, data)`. */
export interface ConnectionEvent {
  event: string
  data: unknown
}

/** Events of the client itself, which every topic has besides its own. */
export interface OwnEvents {
  /** Events were lost and will not come. Load anew what you have made of them. */
  reset: { reason: ResetReason }
  /** A snapshot that has no event name of its own. */
  snapshot: unknown
  /** The topic is not heard, or not any more. The code says why. */
  error: { code: string, message: string }
}

type Told<Events> = Events & Omit<OwnEvents, keyof Events>
type EachOf<Events> = { [K in keyof Events & string]: ClientEvent<K, Events[K]> }[keyof Events & string]

/** A topic of a client. It is heard while somebody listens, iterates, or has subscribed to one of its stores. */
export interface ClientTopic<Events, Shown, Messages> extends AsyncIterable<EachOf<Told<Events>>> {
  /** The full name. */
  readonly name: string
  /** Hears events by name; `'*'`: all of them. Returns a function that stops listening. */
  on <K extends keyof Told<Events> & string> (
    event: K, run: (event: ClientEvent<K, Told<Events>[K]>) => void
  ): () => void
  on (event: '*', run: (event: EachOf<Told<Events>>) => void): () => void
  /**
   * Sends a message with this topic's name to its handler. Resolves with the reply.
   * @throws RealtimeError with the handler's code, or one of the client's
   */
  send <K extends NameOf<Messages>> (event: K, data: Data<Messages, K>): Promise<Reply<Messages, K>>
  /** Sends a message that is relayed to the others. It gets no reply. Does nothing while not connected. */
  relay <K extends NameOf<Messages>> (event: K, data: Data<Messages, K>): void
  /** Says something of this client to the others in the topic. @throws RealtimeError */
  show (state: Shown extends { state?: infer State } ? NonNullable<State> : unknown): Promise<void>
  /** The members of the topic, if the route has presence. */
  readonly members: Store<readonly Shown[]>
  /** How many members the topic has, if the route has presence. */
  readonly count: Store<number>
  /** The state of a keyed topic. */
  readonly state: Store<ReadonlyMap<string, StateEntry>>
}

/** The topic of a pattern, typed by the server's. */
export type TopicFor<Api, Pattern> =
  ClientTopic<EventsOf<Named<Api, Pattern>>, MemberOf<Named<Api, Pattern>>, MessagesOf<Api>>
/** The params that `topic()` takes for a pattern. */
export type ParamsFor<Pattern extends string> =
  string extends Pattern
    ? [params?: Record<string, string>]
    : keyof ParamsOf<Pattern> extends never ? [params?: undefined] : [params: ParamsOf<Pattern>]
export type { Data as DataOf, NameOf as MessageName, Reply as ReplyOf }
