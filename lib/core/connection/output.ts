/** Writes to one client: at once while the client takes bytes, and into its outbox while it does not. */
import type { Entry } from '../event.ts'
import type { Chunk, Outlet } from '../wire.ts'
import { Outbox, type Fits, type OutboxHost } from './outbox.ts'
import type { Recipient } from './slow-client.ts'
import { ConnectionClosed } from '../../errors.ts'

/** What the output needs of the connection. */
export interface OutputHost extends OutboxHost {
  /** More bytes wait than `maxBuffered`. */
  overflowed (): void
}

/** Shared by all outputs that nobody waits for. */
const NONE: ReadonlyArray<() => void> = []

export class Output {
  /** Something was written since the last heartbeat. */
  wrote = false
  /** The peer's buffer is full. */
  full = false
  /** The output counts as full until it is released, whatever the peer takes. */
  stalled = false
  /** When the last heartbeat was due, ms since the epoch; 0 before the first. */
  beatenAt = 0
  /** What waits for the peer; undefined if nothing waits. */
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

  /** @throws ConnectionClosed if there is no outlet yet */
  get outlet (): Outlet {
    if (!this.#outlet) throw new ConnectionClosed()
    return this.#outlet
  }

  /** Bytes that wait for this client, in the outbox and in the socket. */
  get buffered (): number { return this.outlet.buffered + (this.outbox?.bytes ?? 0) }

  /** Writes bytes of a group. This is the hot path. */
  deliver (to: Recipient, bytes: Chunk, entries: readonly Entry[]): void {
    this.wrote = true
    if (!this.full) this.full = !this.outlet.write(bytes)
    else if (!this.#host.closed) this.#kept(this.#box.add(bytes, to, entries))
  }

  /** Writes bytes for this client alone. `told`: the bytes contain positions. */
  write (bytes: Chunk, told = false): void {
    this.wrote = true
    if (!this.full) this.full = !this.outlet.write(bytes)
    else if (!this.#host.closed) this.#kept(this.#box.addOwn(bytes, told))
  }

  /** Writes even if the peer's buffer is full: for bytes from the outbox that must not be separated. */
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

  /** Called once per heartbeat period. */
  beat (): void {
    if (this.stalled) return
    this.#outlet?.beat(!this.wrote)
    this.beatenAt = Date.now()
    this.wrote = false
  }

  /** Resolves when the client takes bytes again, or is gone. Undefined when the client takes bytes now. */
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
