/** The connection object that the app gets. It has what its public type says, and nothing behind it can be reached. */
import { readReason, type Reason } from '../call-options.ts'
import { checkEventName } from '../event-name.ts'
import type { Identity } from '../identity.ts'
import { encodeAny } from '../payload.ts'
import type { Notice, WireKind } from '../wire.ts'
import { ConnectionClosed } from '../../errors.ts'

/** What allows a client to hear a topic. */
export interface TopicGrant {
  /** When it expires, ms since the epoch. */
  readonly expiresAt?: number
  /** What `authorize`, or the client's token, has said of the client. */
  readonly info?: unknown
}

/** What the face needs of the connection. */
export interface FaceHost {
  readonly id: string
  readonly kind: WireKind
  readonly identity: Identity
  readonly topics: string[]
  readonly signal: AbortSignal
  readonly closed: boolean
  /** Bytes that wait for the client. */
  readonly buffered: number
  tell (notice: Notice): void
  /** Joins a topic as this client. */
  subscribe (topic: unknown): Promise<void>
  unsubscribe (topic: unknown): void
  /** What allows the client to hear a topic. */
  grant (topic: unknown): TopicGrant | undefined
  closeFor (reason: Reason): void
}

export class ConnectionFace {
  readonly #host: FaceHost
  /** Data of the app. The object is made when first asked for. */
  #data: Record<string, unknown> | undefined

  constructor (host: FaceHost) {
    this.#host = host
  }

  get id (): string { return this.#host.id }
  get kind (): WireKind { return this.#host.kind }
  get identity (): Identity { return this.#host.identity }
  get topics (): string[] { return this.#host.topics }
  get signal (): AbortSignal { return this.#host.signal }
  get closed (): boolean { return this.#host.closed }
  get buffered (): number { return this.#host.buffered }

  get data (): Record<string, unknown> {
    this.#data ??= {}
    return this.#data
  }

  set data (data: Record<string, unknown>) {
    this.#data = data
  }

  send (event: string, data: unknown): void {
    if (this.#host.closed) return
    checkEventName(event)
    this.#host.tell({ type: 'direct', event, ...encodeAny(undefined, event, data) })
  }

  subscribe (topic: unknown): Promise<void> {
    return this.#host.closed ? Promise.reject(new ConnectionClosed()) : this.#host.subscribe(topic)
  }

  unsubscribe (topic: unknown): void {
    this.#host.unsubscribe(topic)
  }

  grant (topic: unknown): TopicGrant | undefined {
    return this.#host.grant(topic)
  }

  close (reason?: object): void {
    this.#host.closeFor(readReason('close()', reason))
  }
}
