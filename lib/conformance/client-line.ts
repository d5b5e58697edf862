/** One connection of a client, as a turn of the scripted server plays it: what it says, byte by byte if need be. */
import type { ClientOrder } from './client-contract.ts'

export type Frame = Record<string, unknown>
export type Said = Frame | Buffer | string

/** What a line goes by. */
export interface LineOutlet {
  /** What a frame is on this wire. A text is a frame's as it stands, which need not be JSON. */
  encode (frame: Said): Buffer
  write (bytes: Buffer, done: () => void): void
  /** In the way of the wire: with a close frame, or as a response ends. */
  end (code: number): void
  /** Without a word. */
  destroy (): void
}

/** A message of the client's, which waits for its answer. */
export interface AskedMessage {
  readonly frame: Frame
  reply (data: unknown): void
  fail (code: string): void
  /** The connection that it came by is cut. */
  cut (): void
}

/** What the client brought with it. */
export interface Brought {
  /** By topic; of a native stream under its empty name. */
  places: Record<string, string>
  token: string | undefined
}

type Event = { n: number, prev?: number, topic?: string, data?: unknown }

export class Line {
  readonly order: ClientOrder
  readonly brought: Brought
  readonly #outlet: LineOutlet
  readonly #heard: Frame[] = []
  readonly #asked: AskedMessage[] = []
  #wake: Array<() => void> = []
  /** When the server has ended it. */
  endedAt: number | undefined
  #last: Promise<void> = Promise.resolve()
  /** Resolves when the client has told so many things. */
  readonly told: (count: number) => Promise<void>
  /** Has the client send a message. */
  readonly ask: (event: string, data: unknown) => void

  constructor (order: ClientOrder, brought: Brought, outlet: LineOutlet, house: Pick<Line, 'told' | 'ask'>) {
    this.order = order
    this.brought = brought
    this.#outlet = outlet
    this.told = house.told
    this.ask = house.ask
  }

  // --- what the client says ----------------------------------------------------------------

  hear (frame: Frame): void {
    this.#heard.push(frame)
    this.#turn()
  }

  heardMessage (asked: AskedMessage): void {
    this.#asked.push(asked)
    this.#turn()
  }

  /** The next frame with this `op`. */
  async hears (op: string): Promise<Frame> {
    return await this.#taken(this.#heard, (frame) => frame.op === op)
  }

  /** The next message of this name. */
  async asked (event: string): Promise<AskedMessage> {
    return await this.#taken(this.#asked, ({ frame }) => frame.event === event)
  }

  async #taken<T> (from: T[], fits: (one: T) => boolean): Promise<T> {
    for (;;) {
      const index = from.findIndex(fits)
      if (index >= 0) return from.splice(index, 1)[0] as T
      await new Promise<void>((resolve) => { this.#wake.push(resolve) })
    }
  }

  #turn (): void { for (const run of this.#wake.splice(0)) run() }

  // --- what the server says ----------------------------------------------------------------

  bytesOf (frame: Said): Buffer { return this.#outlet.encode(frame) }

  say (...frames: Said[]): void { for (const frame of frames) this.write(this.bytesOf(frame)) }

  /** As they are. */
  write (bytes: Buffer): void {
    this.#last = new Promise((resolve) => this.#outlet.write(bytes, resolve))
  }

  /** Each byte by itself. */
  async dribble (bytes: Buffer): Promise<void> {
    for (const byte of bytes) {
      this.write(Buffer.of(byte))
      await this.#last
      await new Promise<void>((resolve) => setImmediate(resolve))
    }
  }

  /** Event n, behind n - 1. */
  event (...events: Array<number | Event>): void {
    for (const one of events) this.say(this.eventOf(typeof one === 'number' ? { n: one } : one))
  }

  eventOf ({ n, prev = n - 1, topic, data = n }: Event): Frame {
    if (this.order.wire === 'sse') return { event: 'n', id: String(n), data }
    return { topic: topic ?? this.order.topics[0], event: 'n', id: String(n), prev: String(prev), data }
  }

  /** As a server does that has every event up to `last`. */
  honest (last: number, topic = this.order.topics[0] ?? ''): void {
    for (let n = Number(this.brought.places[topic] ?? 0) + 1; n <= last; n++) this.event({ n, topic })
  }

  bye (code: number, reason: string, more: { reconnect: boolean, retry?: number }): void {
    this.say({ op: 'bye', code, reason, ...more })
    this.end(code)
  }

  end (code = 1000): void {
    this.endedAt = performance.now()
    this.#outlet.end(code)
  }

  /** Once what was said has left. */
  async cut (): Promise<void> {
    await this.#last
    this.#outlet.destroy()
  }
}
