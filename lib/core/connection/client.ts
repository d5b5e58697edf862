/** Who is behind a connection, as that sees it. */
import type { Receiver } from '../event.ts'
import type { Identity } from '../identity.ts'
import type { WireKind } from '../wire.ts'
import type { TopicGrant } from './face.ts'
import type { OutboxSettings } from './outbox.ts'

export interface ConnectionSettings extends OutboxSettings {
  /** ms between two signs of life; 0 where none are needed. */
  readonly heartbeat: number
}

/** Who the client is, and its way back to the app; made by the routes. */
export interface Client extends Receiver {
  readonly id: string
  readonly kind: WireKind
  readonly identity: Identity
  readonly address: string
  /** What it came by; the app's own subscriptions came by none. */
  readonly request?: { readonly url: string, readonly headers: Readonly<Record<string, unknown>> }
  /** The place that it takes up; given back when the connection is gone. The app's own subscriptions take up none. */
  readonly place: { left (): void } | undefined
  readonly settings: ConnectionSettings
  /** How many orders were given before its request arrived: later ones concern it. */
  readonly since: number
  /** Joins a topic as this client, `authorize` and all. */
  subscribe (topic: unknown): Promise<void>
  /** Asks `authorize` once more for all that it listens to; ends the connection where that refuses. */
  authorizeAgain (): void
  /** Runs app code in the async context of its request. */
  run? (code: () => void): void
  /** A topic that it was to hear is left. False once the app has accepted it. */
  forget? (name: string): boolean
  /** Is this one of the topics that it is to begin with? */
  awaits? (name: string): boolean
  /** The full name of what the app named. */
  resolve (topic: unknown): string
  /** When what proves its identity was issued, ms since the epoch; undefined where that does not say. */
  readonly issuedAt?: number | undefined
  /** ms from now until what allows it to hear a topic ends; undefined where nothing says that it does. */
  expires? (name: string): number | undefined
  /** What the app has allowed it in a topic. */
  grant? (name: string): TopicGrant | undefined
  /** Its connection has ended. */
  ended? (): void
}
