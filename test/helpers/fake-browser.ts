/**
 * A browser with several pages, in Node: locks and channels as far as tabs use them, and pages that are closed, crash,
 * freeze and thaw. What comes to a frozen page waits until it thaws; to a crashed one nothing comes any more.
 */
import { WebSocket } from 'ws'
import type { AnyChannel, AnyLocks, Browser } from '../../lib/client/tab-posts.ts'
import type { AnySocket, SocketClass } from '../../lib/client/socket-class.ts'

type Options = Parameters<AnyLocks['request']>[1]
interface Request { page: FakePage, shared: boolean, grant: () => void, refuse: (error: Error) => void }

class FakeLocks {
  readonly #queues = new Map<string, { held: Request[], waiting: Request[] }>()

  #queue (name: string) {
    let queue = this.#queues.get(name)
    if (!queue) this.#queues.set(name, queue = { held: [], waiting: [] })
    return queue
  }

  request (page: FakePage, name: string, options: Options, run: () => Promise<void>): Promise<void> {
    return new Promise((resolve, reject) => {
      const { held, waiting } = this.#queue(name)
      const refuse = (error: Error): void => page.task(() => reject(error))
      const request: Request = {
        page,
        shared: options.mode === 'shared',
        refuse,
        grant: () => page.task(() => {
          run().then(resolve, reject).finally(() => this.#release(name, request)).catch(() => {})
        })
      }
      options.signal?.addEventListener('abort', () => {
        const at = waiting.indexOf(request)
        if (at < 0) return
        waiting.splice(at, 1)
        refuse(new DOMException('aborted', 'AbortError'))
        this.#grant(name)
      })
      if (options.steal) {
        for (const robbed of held.splice(0)) robbed.refuse(new DOMException('stolen', 'AbortError'))
        waiting.unshift(request)
      } else waiting.push(request)
      this.#grant(name)
    })
  }

  #release (name: string, request: Request): void {
    const { held } = this.#queue(name)
    const at = held.indexOf(request)
    if (at >= 0) held.splice(at, 1)
    this.#grant(name)
  }

  #grant (name: string): void {
    const { held, waiting } = this.#queue(name)
    for (let next = waiting[0]; next && (held.length === 0 || (next.shared && held.every(({ shared }) => shared))); next = waiting[0]) {
      waiting.shift()
      held.push(next)
      next.grant()
    }
  }

  /** All that this page has and wants. */
  crashed (page: FakePage): void {
    for (const [name, queue] of this.#queues) {
      queue.held = queue.held.filter((request) => request.page !== page)
      queue.waiting = queue.waiting.filter((request) => request.page !== page)
      this.#grant(name)
    }
  }
}

class FakeChannel implements AnyChannel {
  onmessage: unknown = null
  readonly #page: FakePage
  readonly #members: Set<FakeChannel>

  constructor (page: FakePage, members: Set<FakeChannel>) {
    this.#page = page
    this.#members = members.add(this)
  }

  postMessage (message: unknown): void {
    const data = structuredClone(message)
    if (this.#page.crashed) return
    for (const other of this.#members) if (other !== this) other.#page.task(() => other.#hear(structuredClone(data)))
  }

  #hear (data: unknown): void {
    if (this.onmessage) (this.onmessage as (event: { data: unknown }) => void)({ data })
  }

  close (): void { this.#members.delete(this) }
}

export class FakeBrowser {
  readonly locks = new FakeLocks()
  readonly channels = new Map<string, Set<FakeChannel>>()

  page (): FakePage { return new FakePage(this) }
}

export class FakePage {
  readonly browser: Browser
  readonly WebSocket: SocketClass
  readonly #all: FakeBrowser
  readonly #sockets = new Set<WebSocket>()
  readonly #sleeping = new Set<() => void>()
  #tasks: Array<() => void> = []
  #frozen = false
  crashed = false

  constructor (all: FakeBrowser) {
    this.#all = all
    this.browser = {
      locks: { request: (name, options, run) => all.locks.request(this, name, options, run) },
      channel: (name) => {
        const members = all.channels.get(name) ?? new Set<FakeChannel>()
        all.channels.set(name, members)
        return new FakeChannel(this, members)
      },
      onSleep: (run) => {
        this.#sleeping.add(run)
        return () => this.#sleeping.delete(run)
      }
    }
    this.WebSocket = this.#socketClass()
  }

  /** One after the other, and never within what made them. */
  task (run: () => void): void {
    this.#tasks.push(run)
    setImmediate(() => this.#work())
  }

  #work (): void {
    if (this.#frozen || this.crashed) return
    this.#tasks.shift()?.()
  }

  /** `silent`: it is not told before, as by a browser that does not say so. */
  freeze ({ silent = false } = {}): void {
    if (!silent) for (const run of [...this.#sleeping]) run()
    this.#frozen = true
  }

  thaw (): void {
    this.#frozen = false
    for (let i = this.#tasks.length; i > 0; i--) setImmediate(() => this.#work())
  }

  crash (): void {
    this.crashed = true
    for (const socket of this.#sockets) socket.terminate()
    this.#all.locks.crashed(this)
  }

  get sockets (): number { return [...this.#sockets].filter(({ readyState }) => readyState <= WebSocket.OPEN).length }

  #socketClass (): SocketClass {
    const page = this
    return class implements AnySocket {
      binaryType = 'arraybuffer'
      onopen: unknown
      onmessage: unknown
      onclose: unknown
      onerror: unknown
      readonly #socket: WebSocket

      constructor (url: string, protocols: string[]) {
        const socket = this.#socket = new WebSocket(url, protocols)
        page.#sockets.add(socket)
        const tell = (run: unknown, event: unknown): void => page.task(() => (run as ((event: unknown) => void))?.(event))
        socket.binaryType = 'arraybuffer'
        socket.onopen = () => tell(() => (this.onopen as () => void)(), {})
        socket.onmessage = ({ data }) => tell(this.onmessage, { data })
        socket.onclose = ({ code }) => tell(this.onclose, { code })
        socket.onerror = () => {}
      }

      send (data: string | Uint8Array): void { if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(data) }
      close (code?: number): void { this.#socket.close(code) }
    }
  }
}
