/** Apps for tests, and raw clients that do what no library would. */
import { once } from 'node:events'
import { connect, type AddressInfo, type Socket } from 'node:net'
import Fastify, { type FastifyInstance } from 'fastify'
import type { Test } from 'tap'
import realtime, { type RealtimeOptions } from '../../lib/index.ts'
import { connectChannel, type ChannelClient, type ConnectChannelOptions } from '../../lib/testing/index.ts'

/** Options of Fastify's own, HTTP/2 ones included: its overloads have no common type. */
export type ServerOptions = Record<string, unknown>

/** An app that closes with its test. */
export function bare (t: Test, options: ServerOptions = {}): FastifyInstance {
  const app = Fastify(options as object) as unknown as FastifyInstance
  t.teardown(() => app.close())
  return app
}

/** The same with the plugin; `closeTimeout` is short, so that a fault of closing shows soon. */
export async function live (t: Test, options: RealtimeOptions = {}, server: ServerOptions = {}): Promise<FastifyInstance> {
  const app = bare(t, server)
  await app.register(realtime, { closeTimeout: 1000, ...options })
  return app
}

/** Listens on a free port and says where. */
export async function listen (app: FastifyInstance, host = '127.0.0.1'): Promise<string> {
  return await app.listen({ port: 0, host })
}

export const portOf = (app: FastifyInstance): number => (app.server.address() as AddressInfo).port

/** A channel's client in the envelope format, which says when it has joined. */
export async function talkTo (app: FastifyInstance, url: string, options: ConnectChannelOptions): Promise<ChannelClient> {
  const client = await connectChannel(app, url, { ...options, format: 'envelope' })
  await client.next('realtime:subscribed')
  return client
}

/** A promise and its resolver, for tests that hold something up. */
export function gate<T = void> () {
  let open!: (value: T) => void
  const passed = new Promise<T>((resolve) => { open = resolve })
  return { open, passed }
}

/** Calls, and a way to wait for the nth. */
export function calls<T> () {
  const all: T[] = []
  let waiting: Array<{ count: number, resolve: () => void }> = []
  return {
    all,
    note (value: T): void {
      all.push(value)
      waiting = waiting.filter(({ count, resolve }) => all.length < count || resolve())
    },
    async reach (count: number): Promise<T[]> {
      if (all.length < count) await new Promise<void>((resolve) => waiting.push({ count, resolve }))
      return all
    }
  }
}

/** A TCP client: what it says and hears is written out. */
export class RawClient {
  readonly socket: Socket
  /** The server's end of it. */
  readonly peer: Socket
  readonly closed: Promise<void>
  text = ''
  #waiting: Array<() => void> = []

  constructor (socket: Socket, peer: Socket) {
    this.socket = socket
    this.peer = peer
    const woken = (): void => { for (const wake of this.#waiting.splice(0)) wake() }
    this.closed = new Promise((resolve) => socket.once('close', () => {
      woken()
      resolve()
    }))
    socket.setEncoding('latin1')
    socket.on('error', () => {})
    socket.on('data', (text: string) => {
      this.text += text
      woken()
    })
  }

  send (text: string): this {
    this.socket.write(text)
    return this
  }

  /** A request: its head line, headers, and body. */
  ask (line: string, headers: Record<string, string> = {}, body = ''): this {
    const lines = Object.entries({ host: 'localhost', ...headers }).map(([name, value]) => `${name}: ${value}\r\n`)
    return this.send(`${line} HTTP/1.1\r\n${lines.join('')}\r\n${body}`)
  }

  /** Resolves when the server has let go of its end. */
  async letGo (): Promise<void> {
    // Not `once`, which rejects where the peer's end is an error.
    if (!this.peer.closed) await new Promise((resolve) => this.peer.once('close', resolve))
  }

  /** Resolves when the text holds this; rejects when the server closes before. */
  async until (wanted: string | RegExp): Promise<string> {
    const found = (): boolean => typeof wanted === 'string' ? this.text.includes(wanted) : wanted.test(this.text)
    while (!found()) {
      if (this.socket.destroyed) throw new Error(`closed before ${String(wanted)} came; got ${JSON.stringify(this.text)}`)
      await new Promise<void>((resolve) => this.#waiting.push(resolve))
    }
    return this.text
  }
}

/** Connects, and is destroyed with the test. `half`: the client keeps its side open when the server has closed its own. */
export async function dial (t: Test, app: FastifyInstance, { half = false, host = '127.0.0.1' } = {}): Promise<RawClient> {
  const socket = connect({ port: portOf(app), host, allowHalfOpen: half })
  t.teardown(() => { socket.destroy() })
  const [[peer]] = await Promise.all([once(app.server, 'connection'), once(socket, 'connect')])
  return new RawClient(socket, peer as Socket)
}

export const HANDSHAKE = {
  connection: 'Upgrade',
  upgrade: 'websocket',
  'sec-websocket-version': '13',
  'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ=='
}

/** The code of an error that something throws or rejects with. */
export async function codeOf (run: () => unknown): Promise<string> {
  try {
    await run()
    return 'no error'
  } catch (error) {
    return String((error as { code?: unknown }).code)
  }
}

/** How an upgrade was answered where it was refused. */
export async function refusalOf (connecting: Promise<unknown>): Promise<{ statusCode: number, body: Record<string, unknown> }> {
  try {
    await connecting
  } catch (error) {
    const { statusCode, body } = error as { statusCode?: number, body?: unknown }
    if (statusCode !== undefined) return { statusCode, body: body as Record<string, unknown> }
    throw error
  }
  throw new Error('it was not refused')
}
