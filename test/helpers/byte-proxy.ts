/** A TCP proxy that counts bytes: a link is cut, or carries nothing any more, behind exactly so many of them. */
import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import type { Teardown } from './redis.ts'

/** What becomes of a link, once so many bytes have gone one way. `up`: to the server. */
export interface Fault { way: 'up' | 'down', after: number, then: 'cut' | 'stall' }

export class ByteProxy {
  /** Asked for each link that is made. */
  plan: () => Fault | undefined = () => undefined
  /** Links so far, and what became of them. */
  readonly counts = { links: 0, cut: 0, stalled: 0 }
  readonly #target: number
  readonly #links = new Set<Link>()
  readonly #server: Server
  #idle = (): void => {}

  private constructor (target: number) {
    this.#target = target
    this.#server = createServer({ noDelay: true }, (socket) => this.#accept(socket))
  }

  /** `target`: a port of 127.0.0.1, where somebody may listen or not. */
  static async start (t: Teardown, target: number): Promise<ByteProxy> {
    const proxy = new ByteProxy(target)
    proxy.#server.listen(0, '127.0.0.1')
    await once(proxy.#server, 'listening')
    t.teardown(() => proxy.close())
    return proxy
  }

  get url (): string { return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}` }
  get open (): number { return this.#links.size }
  /** Bytes that the links there were have carried down, by their age. */
  readonly carried: number[] = []

  /** Those that carry nothing are cut. */
  endStalls (): void { for (const link of [...this.#links]) if (link.stalled) link.cut() }

  cut (): void { for (const link of [...this.#links]) link.cut() }

  /** Resolves when nothing is open any more. */
  async close (): Promise<void> {
    if (!this.#server.listening) return
    this.#server.close()
    this.cut()
    await once(this.#server, 'close')
    if (this.open > 0) await new Promise<void>((resolve) => { this.#idle = resolve })
  }

  #accept (socket: Socket): void {
    const age = this.counts.links++
    this.carried[age] = 0
    const link = new Link(socket, connect({ port: this.#target, host: '127.0.0.1', noDelay: true }), this.plan(), {
      carried: (count) => { this.carried[age] = (this.carried[age] ?? 0) + count },
      reached: (then) => { this.counts[then === 'cut' ? 'cut' : 'stalled']++ },
      over: () => {
        this.#links.delete(link)
        if (this.open === 0) this.#idle()
      }
    })
    this.#links.add(link)
  }
}

interface LinkHost {
  carried (down: number): void
  reached (then: Fault['then']): void
  over (): void
}

class Link {
  stalled = false
  readonly #client: Socket
  readonly #server: Socket
  readonly #fault: Fault | undefined
  readonly #host: LinkHost
  #gone = 0

  constructor (client: Socket, server: Socket, fault: Fault | undefined, host: LinkHost) {
    this.#client = client
    this.#server = server
    this.#fault = fault
    this.#host = host
    let closed = 0
    for (const socket of [client, server]) {
      socket.on('error', () => {})
      socket.once('close', () => {
        if (++closed === 2) host.over()
        else if (!this.stalled) this.#endWith()
      })
    }
    this.#carry(client, server, 'up')
    this.#carry(server, client, 'down')
  }

  /** Both at once, with what was not sent yet: `destroy` resets nothing at exit, which kept Node 20 from ending. */
  cut (): void {
    this.#client.destroy()
    this.#server.destroy()
  }

  /** One side has left in its own way: the other is told what had come, and then that it ends. */
  #endWith (): void {
    this.#client.end(() => this.#client.destroy())
    this.#server.end(() => this.#server.destroy())
  }

  #carry (from: Socket, to: Socket, way: Fault['way']): void {
    from.on('data', (bytes: Buffer) => {
      if (this.stalled || to.destroyed) return
      const left = this.#fault?.way === way ? this.#fault.after - this.#gone : Infinity
      const passed = bytes.subarray(0, left)
      if (this.#fault?.way === way) this.#gone += passed.length
      if (way === 'down') this.#host.carried(passed.length)
      if (left > bytes.length) {
        if (!to.write(passed)) this.#wait(from, to)
        return
      }
      const { then } = this.#fault as Fault
      this.#host.reached(then)
      // The side that hears sees exactly so many; the other learns of it by the cut alone.
      this.stalled = then === 'stall'
      to.write(passed, () => { if (then === 'cut') this.cut() })
    })
    from.on('end', () => { if (!this.stalled) to.end() })
  }

  #wait (from: Socket, to: Socket): void {
    from.pause()
    to.once('drain', () => from.resume())
  }
}
