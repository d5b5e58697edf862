/** A proxy that speaks HTTP, and does to upgrades and to streams what some do: refuses, strips, swallows, buffers, cuts. */
import { once } from 'node:events'
import { createServer, request, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { connect, type AddressInfo } from 'node:net'
import type { Duplex } from 'node:stream'
import type { Teardown } from './redis.ts'

/** What becomes of an upgrade. A number: the status that it is answered. */
export type Upgrades = 'pass' | 'strip' | 'silent' | 'cut' | number

export interface Passed { method: string, url: string, headers: IncomingMessage['headers'], body: string }

export class HttpProxy {
  upgrades: Upgrades = 'pass'
  /** Streams are held back for ever. */
  buffers = false
  /** Upgrades that were asked for. */
  asked = 0
  /** Requests, as they came. */
  readonly requests: Passed[] = []
  readonly #target: number
  readonly #server: Server
  readonly #open = new Set<Duplex>()

  private constructor (target: number) {
    this.#target = target
    this.#server = createServer((asked, answer) => { this.#pass(asked, answer).catch(() => answer.destroy()) })
    this.#server.on('upgrade', (asked: IncomingMessage, socket: Duplex, head: Buffer) => this.#upgrade(asked, socket, head))
    this.#server.on('connection', (socket) => this.#keep(socket))
  }

  static async start (t: Teardown, target: number): Promise<HttpProxy> {
    const proxy = new HttpProxy(target)
    proxy.#server.listen(0, '127.0.0.1')
    await once(proxy.#server, 'listening')
    t.teardown(() => proxy.close())
    return proxy
  }

  get url (): string { return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}` }
  /** Those that ask for a stream. */
  get opens (): Passed[] { return this.requests.filter(({ body }) => body.includes('"op":"open"')) }
  get posts (): Passed[] { return this.requests.filter(({ method, body }) => method === 'POST' && !body.includes('"op":"open"')) }

  /** Everything that is open is cut, in both directions. */
  cut (): void { for (const socket of this.#open) socket.destroy() }

  close (): void {
    this.#server.close()
    this.cut()
  }

  #keep (socket: Duplex): void {
    this.#open.add(socket)
    socket.on('error', () => {})
    socket.once('close', () => this.#open.delete(socket))
  }

  #upgrade (asked: IncomingMessage, socket: Duplex, head: Buffer): void {
    this.asked++
    if (this.upgrades === 'silent') return
    if (this.upgrades === 'pass' || this.upgrades === 'cut') return this.#tunnel(asked, socket, head)
    if (this.upgrades === 'strip') return this.#stripped(asked, socket)
    socket.end(`HTTP/1.1 ${this.upgrades} No\r\nconnection: close\r\ncontent-length: 0\r\n\r\n`)
  }

  #tunnel (asked: IncomingMessage, socket: Duplex, head: Buffer): void {
    const server = connect(this.#target, '127.0.0.1')
    this.#keep(server)
    server.write(`GET ${asked.url ?? '/'} HTTP/1.1\r\n${headerLines(asked)}\r\n`)
    server.write(head)
    socket.once('close', () => server.destroy())
    server.once('close', () => socket.destroy())
    socket.pipe(server)
    if (this.upgrades === 'pass') server.pipe(socket)
    // The handshake is let through, and nothing behind it.
    else server.once('data', (answer: Buffer) => socket.write(answer, () => server.destroy()))
  }

  /** Without the header it is a request as any other. */
  #stripped (asked: IncomingMessage, socket: Duplex): void {
    const { upgrade, connection, ...headers } = asked.headers
    const passed = request({ port: this.#target, host: '127.0.0.1', path: asked.url, headers, agent: false }, (answer) => {
      socket.end(`HTTP/1.1 ${answer.statusCode ?? 0} No\r\nconnection: close\r\ncontent-length: 0\r\n\r\n`)
      answer.resume()
    })
    passed.on('error', () => socket.destroy())
    passed.end()
  }

  async #pass (asked: IncomingMessage, answer: ServerResponse): Promise<void> {
    const chunks: Buffer[] = []
    for await (const chunk of asked) chunks.push(chunk as Buffer)
    const body = Buffer.concat(chunks)
    const { method = '', url = '', headers } = asked
    this.requests.push({ method, url, headers, body: body.toString('latin1') })
    const passed = request({ port: this.#target, host: '127.0.0.1', path: url, method, headers, agent: false })
    passed.on('error', () => answer.destroy())
    answer.once('close', () => passed.destroy())
    passed.end(body)
    const [from] = await once(passed, 'response') as [IncomingMessage]
    from.on('error', () => answer.destroy())
    from.once('close', () => { if (!from.complete) answer.destroy() })
    if (this.buffers && from.headers['content-type']?.startsWith('text/event-stream')) {
      from.resume()
      return
    }
    answer.writeHead(from.statusCode ?? 502, from.headers)
    answer.flushHeaders()
    from.pipe(answer)
  }
}

function headerLines ({ rawHeaders }: IncomingMessage): string {
  let lines = ''
  for (let i = 0; i < rawHeaders.length; i += 2) lines += `${rawHeaders[i] ?? ''}: ${rawHeaders[i + 1] ?? ''}\r\n`
  return lines
}
