/** A TCP proxy that does to a link what networks do: cuts it, swallows what it carries, holds it back, delays it. */
import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import type { Teardown } from '../helpers/redis.ts'

/** What a connection finds that is made now: `silent` accepts it and says nothing. */
export type Door = 'open' | 'refusing' | 'silent'
export type Direction = 'up' | 'down'

export class FaultProxy {
  door: Door = 'open'
  /** ms, each way. */
  delay = 0
  /** The port that connections go to which are made from here on. */
  target: number
  readonly #links = new Set<Link>()
  readonly #waiting = new Set<Socket>()
  readonly #server: Server
  /** Connections so far. */
  accepted = 0

  private constructor (target: number) {
    this.target = target
    this.#server = createServer({ noDelay: true, allowHalfOpen: true }, (socket) => this.#accept(socket))
  }

  static async start (t: Teardown, target: number): Promise<FaultProxy> {
    const proxy = new FaultProxy(target)
    proxy.#server.listen(0, '127.0.0.1')
    await once(proxy.#server, 'listening')
    t.teardown(() => proxy.close())
    return proxy
  }

  get port (): number { return (this.#server.address() as AddressInfo).port }
  get url (): string { return `redis://127.0.0.1:${this.port}` }
  get connections (): number { return this.#links.size }

  #accept (socket: Socket): void {
    this.accepted++
    socket.on('error', () => {})
    if (this.door === 'refusing') {
      socket.resetAndDestroy()
      return
    }
    if (this.door === 'silent') {
      this.#waiting.add(socket)
      socket.resume()
      socket.once('close', () => this.#waiting.delete(socket))
      return
    }
    const link = new Link(socket, connect({ port: this.target, host: '127.0.0.1', noDelay: true, allowHalfOpen: true }), () => this.delay)
    this.#links.add(link)
    link.whenOver(() => this.#links.delete(link))
  }

  /** Every connection is reset. */
  cut (): void {
    for (const link of [...this.#links]) link.cut()
    for (const socket of this.#waiting) socket.resetAndDestroy()
  }

  /** The connections there are stay open and carry nothing any more. */
  freeze (): void {
    for (const link of this.#links) link.freeze()
  }

  /** What the connections there are carry waits, one way. `nth`: that of one of them, by age. */
  hold (direction: Direction, nth?: number): void {
    for (const [i, link] of [...this.#links].entries()) if (nth === undefined || i === nth) link.held[direction] = true
  }

  /** Whether this is on its way to the server, and has not arrived. */
  holds (text: string): boolean {
    return [...this.#links].some((link) => link.holds(text))
  }

  /** What was held goes on its way, also where the one who sent it has left meanwhile. */
  release (): void {
    for (const link of [...this.#links]) link.release()
  }

  heal (): void {
    this.door = 'open'
    this.delay = 0
    this.release()
  }

  close (): void {
    this.#server.close()
    for (const link of this.#links) link.end()
    this.cut()
  }
}

class Link {
  readonly held = { up: false, down: false }
  readonly #client: Socket
  readonly #server: Socket
  readonly #pipes: [Pipe, Pipe]

  constructor (client: Socket, server: Socket, delay: () => number) {
    const { held } = this
    this.#client = client
    this.#server = server
    server.on('error', () => {})
    this.#pipes = [new Pipe(client, server, () => held.up, delay), new Pipe(server, client, () => held.down, delay)]
  }

  whenOver (run: () => void): void {
    let open = 2
    for (const socket of [this.#client, this.#server]) {
      socket.once('close', () => {
        if (--open === 0) run()
      })
    }
  }

  cut (): void {
    this.#client.resetAndDestroy()
    // What is held for the server reaches it when it is released.
    if (this.#pipes[0].idle) this.#server.resetAndDestroy()
  }

  freeze (): void {
    for (const pipe of this.#pipes) pipe.frozen = true
  }

  holds (text: string): boolean {
    return this.#pipes[0].holds(text)
  }

  end (): void {
    for (const pipe of this.#pipes) pipe.end()
    this.#client.destroy()
    this.#server.destroy()
  }

  release (): void {
    this.held.up = this.held.down = false
    for (const pipe of this.#pipes) pipe.pump()
  }
}

class Pipe {
  frozen = false
  readonly #to: Socket
  readonly #held: () => boolean
  readonly #queue: Array<{ chunk: Buffer | 'end' | 'close', due: number }> = []
  #timer: NodeJS.Timeout | undefined

  constructor (from: Socket, to: Socket, held: () => boolean, delay: () => number) {
    this.#to = to
    this.#held = held
    const put = (chunk: Buffer | 'end' | 'close'): void => {
      if (this.frozen && chunk !== 'close') return
      this.#queue.push({ chunk, due: performance.now() + delay() })
      this.pump()
    }
    from.on('data', put)
    from.once('end', () => put('end'))
    from.once('close', () => put('close'))
  }

  get idle (): boolean { return this.#queue.every(({ chunk }) => typeof chunk === 'string') }

  holds (text: string): boolean {
    return this.#queue.some(({ chunk }) => typeof chunk !== 'string' && chunk.includes(text))
  }

  pump (): void {
    clearTimeout(this.#timer)
    for (let next = this.#queue[0]; next && !this.#held(); next = this.#queue[0]) {
      const wait = next.due - performance.now()
      if (wait > 0) {
        this.#timer = setTimeout(() => this.pump(), wait)
        return
      }
      this.#queue.shift()
      if (next.chunk === 'close') this.#close()
      else if (next.chunk === 'end') this.#to.end()
      else if (!this.#to.destroyed) this.#to.write(next.chunk)
    }
  }

  end (): void {
    clearTimeout(this.#timer)
    this.#queue.length = 0
  }

  #close (): void {
    if (this.#to.destroyed) return
    // What was written before is to arrive.
    this.#to.end(() => this.#to.destroy())
  }
}
