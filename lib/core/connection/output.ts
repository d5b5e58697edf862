/** What is written to one client: at once while it takes it, and kept in its outbox while it does not. */
import type { Entry } from '../event.ts'
import type { Chunk, Outlet } from '../wire.ts'
import { Outbox, type Fits, type OutboxHost } from './outbox.ts'
import type { Recipient } from './slow-client.ts'
import { ConnectionClosed } from '../../errors.ts'

/** The connection, as its output sees it. */
export interface OutputHost extends OutboxHost {
  /** More waits than may. */
  overflowed (): void
}

/** Shared by all connections on which nobody waits. */
const NONE: ReadonlyArray<() => void> = []

export class Output {
  /** Something was written since the last beat. */
  wrote = false
  /** The peer's buffer is full. */
  full = false
  /** It counts as full, whatever the peer takes, until it is let go. */
  stalled = false
  /** When it last gave a sign of life, ms since the epoch; 0 before the first. */
  beatenAt = 0
  /** What waits for the peer, where anything does. */
  outbox: Outbox | undefined
  readonly #host: OutputHost
  #outlet: Outlet | undefined
  #waiters = NONE

  constructor (host: OutputHost) {
    this.#host = host
  }

  attach (outlet: Outlet): void {
    this.#outlet = outlet
  }

  get attached (): boolean { return this.#outlet !== undefined }

  /** @throws ConnectionClosed where there is none yet */
  get outlet (): Outlet {
    if (!this.#outlet) throw new ConnectionClosed()
    return this.#outlet
  }

  /** Bytes that this client costs now. */
  get buffered (): number { return this.outlet.buffered + (this.outbox?.bytes ?? 0) }

  /** Bytes of a group: the hot path. */
  deliver (to: Recipient, bytes: Chunk, entries: readonly Entry[]): void {
    this.wrote = true
    if (!this.full) this.full = !this.outlet.write(bytes)
    else if (!this.#host.closed) this.#kept(this.#box.add(bytes, to, entries))
  }

  /** Bytes for this client alone. `told`: they tell it positions. */
  write (bytes: Chunk, told = false): void {
    this.wrote = true
    if (!this.full) this.full = !this.outlet.write(bytes)
    else if (!this.#host.closed) this.#kept(this.#box.addOwn(bytes, told))
  }

  /** Writes whatever the buffer says: for bytes that must not be parted by what waits. */
  force (bytes: Chunk): void {
    this.full = !this.outlet.write(bytes)
  }

  get #box (): Outbox {
    this.outbox ??= new Outbox(this.#host, this)
    return this.outbox
  }

  #kept (fits: Fits): void {
    if (fits === 'overflows') this.#host.overflowed()
  }

  /** Once a heartbeat period. */
  beat (): void {
    if (this.stalled) return
    this.#outlet?.beat(!this.wrote)
    this.beatenAt = Date.now()
    this.wrote = false
  }

  /** Resolves when the client takes bytes again, or is gone. Undefined when it takes them now. */
  writable (): Promise<void> | undefined {
    return this.full && !this.#host.closed ? this.woken() : undefined
  }

  /** Resolves at the next `wake`. */
  woken (): Promise<void> {
    return new Promise((resolve) => { this.#waiters = [...this.#waiters, resolve] })
  }

  wake (): void {
    const waiters = this.#waiters
    this.#waiters = NONE
    for (const resolve of waiters) resolve()
  }
}
