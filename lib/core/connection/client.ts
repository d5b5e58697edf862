/** The client, as its connection sees it. */
import type { Receiver } from '../event.ts'
import type { Identity } from '../identity.ts'
import type { WireKind } from '../wire.ts'
import type { TopicGrant } from './face.ts'
import type { OutboxSettings } from './outbox.ts'

export interface ConnectionSettings extends OutboxSettings {
  /** ms between two heartbeats; 0 for none. */
  readonly heartbeat: number
}

/** The client's identity, and how its connection reaches the app. Made by the routes. */
export interface Client extends Receiver {
  readonly id: string
  readonly kind: WireKind
  readonly identity: Identity
  readonly address: string
  /** The request that the client came by. The app's own subscriptions have none. */
  readonly request?: { readonly url: string, readonly headers: Readonly<Record<string, unknown>> }
  /** The client's place, given back when the connection is gone. The app's own subscriptions have none. */
  readonly place: { left (): void } | undefined
  readonly settings: ConnectionSettings
  /** How many orders were given before the client's request arrived. Only later orders concern the client. */
  readonly since: number
  /** Joins a topic as this client. `authorize` is asked. */
  subscribe (topic: unknown): Promise<void>
  /** Asks `authorize` again for every topic of the client. If the app refuses one, the connection ends. */
  authorizeAgain (): void
  /** Runs app code in the async context of the client's request. */
  run? (code: () => void): void
  /** Removes a topic from those that the client begins with. False if the app has accepted the client already. */
  forget? (name: string): boolean
  /** True for a topic that the client begins with. */
  awaits? (name: string): boolean
  /** The full name of the topic that the app named. */
  resolve (topic: unknown): string
  /** When the proof of the client's identity was issued, ms since the epoch; undefined if the proof does not say. */
  readonly issuedAt?: number | undefined
  /** ms from now until the client's right to hear a topic ends; undefined if no end is known. */
  expires? (name: string): number | undefined
  /** What allows the client to hear a topic. */
  grant? (name: string): TopicGrant | undefined
  /** The connection has ended. */
  ended? (): void
}
