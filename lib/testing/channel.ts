/** A test client of a WebSocket channel, in either format. */
import type { Socket } from 'node:net'
import { WebSocket } from 'ws'
import type { FastifyInstance } from 'fastify'
import { onlyKnown, record } from '../known.ts'
import { afterMs } from './clock.ts'
import { Inbox, NEXT_TIMEOUT, parsed, type Received } from './inbox.ts'
import { endWithTest, type TestContext } from './lifetime.ts'
import { linkTo, type Link } from './link.ts'

/** Options of `connectChannel()`. An unknown one is FST_ERR_REALTIME_OPTION_INVALID. */
export interface ConnectChannelOptions {
  /** `'flat'` (default): the app's own JSON. `'envelope'`: the subprotocol `fastify-realtime.v1`, with resume. */
  format?: 'flat' | 'envelope'
  /** Headers of the upgrade request. Default: none. */
  headers?: Record<string, string>
  /** The last ids by topic, to resume from (envelope). Default: none. */
  cursors?: Record<string, string>
  /** A token for the `open` frame (envelope), or a function that returns one each time that the client connects. */
  token?: string | (() => string | Promise<string>)
  /** How long `next()` waits, ms. Default 2000, which is less than a test runner waits for the test. */
  timeout?: number
  /** A test context (`t` of tap or node:test). The client closes when the test ends. */
  t?: TestContext
}

const KNOWN: ReadonlySet<string> = new Set([
  'format', 'headers', 'cursors', 'token', 'timeout', 't'
] satisfies Array<keyof ConnectChannelOptions>)

/** Thrown if the upgrade was answered by an ordinary response. */
export class ChannelRefused extends Error {
  /** The status of that response. */
  readonly statusCode: number
  /** Its body: the parsed JSON, or the text if it is not JSON. */
  readonly body: unknown
  constructor (statusCode: number, body: string) {
    super(`the channel was refused with ${statusCode}: ${body.slice(0, 200)}`)
    this.statusCode = statusCode
    this.body = parsed(body)
  }
}

type Frame = Record<string, unknown>

/** How a channel ended: the code and reason of the close frame (RFC 6455 §7.4). */
export interface ChannelEnd { code: number, reason: string }

/** A test client of one channel. `connectChannel()` makes it. */
export class ChannelClient {
  readonly #link: Link
  readonly #url: string
  readonly #options: ConnectChannelOptions
  readonly #inbox: Inbox
  #ws: WebSocket | undefined
  #ended: Promise<ChannelEnd> = Promise.resolve({ code: 1000, reason: '' })
  #refs = 0
  /** The last id received, by topic. `resume()` sends them (envelope). */
  readonly cursors: Record<string, string>

  constructor (link: Link, url: string, options: ConnectChannelOptions) {
    this.#link = link
    this.#url = url
    this.#options = options
    this.#inbox = new Inbox(options.timeout ?? NEXT_TIMEOUT)
    this.cursors = { ...options.cursors }
    endWithTest(options.t, () => this.close())
  }

  /** Everything received so far, on all connections. The protocol's frames are named `realtime:<op>`. */
  get events (): readonly Received[] { return this.#inbox.events }
  /** Resolves when the connection has ended, on either side. */
  get ended (): Promise<ChannelEnd> { return this.#ended }

  /**
   * Resolves with the next event of this name that no `next()` has returned yet. Without a name: with the next event
   * that is not the protocol's own.
   * @throws Error after `timeout`, or if the channel has ended. It says what was received
   */
  next (event?: string): Promise<Received> {
    return this.#inbox.take(event)
  }

  /** Sends a message of the app, in the client's format. */
  send (event: string, data?: object): void {
    this.sendRaw(JSON.stringify(this.#envelope ? { event, data } : { type: event, ...data }))
  }

  /**
   * Sends a message and resolves with the reply.
   * @throws Error with the `code` of an `error` frame, and without `format: 'envelope'`
   */
  async request (event: string, data?: unknown): Promise<unknown> {
    if (!this.#envelope) {
      throw new Error("request() needs format: 'envelope'; in plain JSON send(), and wait for what comes by next()")
    }
    const ref = ++this.#refs
    this.sendRaw(JSON.stringify({ event, data, ref }))
    const { data: frame } = await this.next(`realtime:reply:${ref}`) as { data: Frame }
    if (frame.op === 'error') throw Object.assign(new Error(String(frame.message)), { code: frame.code })
    return frame.data
  }

  /** Sends text or bytes as they are. */
  sendRaw (data: string | Uint8Array): void {
    this.#ws?.send(data)
  }

  /** Cuts the connection without a close frame, as a network does. */
  async drop (): Promise<void> {
    this.#ws?.terminate()
    await this.#ended
  }

  /** Cuts the connection and connects again. In the envelope format it resumes from the last ids. */
  async resume (): Promise<void> {
    await this.drop()
    await this.open()
  }

  /** Closes the connection with 1000. Resolves when it has ended. */
  async close (): Promise<ChannelEnd> {
    this.#ws?.close(1000)
    return await this.#ended
  }

  async [Symbol.asyncDispose] (): Promise<void> {
    await this.close()
  }

  get #envelope (): boolean { return this.#options.format === 'envelope' }

  /** Connects. `connectChannel()` has called it. @throws ChannelRefused */
  async open (): Promise<void> {
    const ws = new WebSocket(`ws://${this.#link.host}${this.#url}`, this.#envelope ? ['fastify-realtime.v1'] : [], {
      createConnection: () => this.#link.open() as Socket,
      headers: this.#options.headers ?? {}
    })
    this.#ws = ws
    // It listens before the upgrade: the first message may come with the answer.
    ws.on('message', (data, binary) => this.#receive(data as Buffer, binary))
    await upgraded(ws, this.#options.timeout ?? NEXT_TIMEOUT)
    this.#inbox.reopen()
    this.#ended = new Promise((resolve) => ws.once('close', (code, reason) => {
      this.#inbox.end(`the channel was closed: ${code} ${String(reason)}`)
      resolve({ code, reason: String(reason) })
    }))
    if (!this.#envelope) return
    const { token } = this.#options
    const brought = typeof token === 'function' ? await token() : token
    this.sendRaw(JSON.stringify({ op: 'open', cursors: this.cursors, token: brought }))
  }

  #receive (data: Buffer, binary: boolean): void {
    if (binary) return this.#receiveBytes(data)
    const frame = parsed(String(data)) as Frame
    if (this.#envelope) return this.#receiveFrame(frame)
    const { type, ...rest } = frame
    this.#inbox.put({ event: String(type), data: rest })
  }

  #receiveBytes (data: Buffer): void {
    if (!this.#envelope) return this.#inbox.put({ event: 'binary', data })
    const length = data.readUInt32BE(0)
    const header = parsed(data.subarray(4, 4 + length).toString()) as Frame
    this.#receiveFrame({ ...header, data: data.subarray(4 + length) })
  }

  #keepCursor ({ op, topic, id }: Frame): void {
    if (typeof topic !== 'string') return
    if (typeof id === 'string') this.cursors[topic] = id
    // This is a part of a state. If the client resumed from its old id, it would never get the other parts.
    else if (op === 'snapshot') delete this.cursors[topic]
  }

  #receiveFrame (frame: Frame): void {
    const { op, topic, event, id, prev, key, data, ref } = frame
    this.#keepCursor(frame)
    const position = {
      ...(id === undefined ? {} : { id: String(id) }),
      ...(prev === undefined ? {} : { prev: String(prev) })
    }
    const where = {
      ...(topic === undefined ? {} : { topic: String(topic) }),
      ...(typeof key === 'string' ? { key } : {})
    }
    if (op === undefined) return this.#inbox.put({ event: String(event), data, ...position, ...where })
    const answers = (op === 'reply' || op === 'error') && ref !== undefined
    this.#inbox.put({
      event: answers ? `realtime:reply:${String(ref)}` : `realtime:${String(op)}`,
      data: frame,
      ...position,
      ...where
    })
  }
}

/** `patience`: ms to wait for the body of a refusal. The body of a stream has no end. */
function upgraded (ws: WebSocket, patience: number): Promise<void> {
  return new Promise((resolve, reject) => {
    ws.once('open', () => {
      ws.on('error', () => {})
      resolve()
    })
    ws.on('error', reject)
    ws.once('unexpected-response', (_request, response) => {
      const status = response.statusCode ?? 0
      let body = ''
      response.setEncoding('utf8')
      response.on('data', (text: string) => { body += text })
      response.on('error', () => {})
      const stop = afterMs(patience, () => response.destroy())
      // Not 'end': a response that is cut never ends.
      response.once('close', () => {
        stop()
        reject(new ChannelRefused(status, body))
      })
      if (/^text\/event-stream/.test(String(response.headers['content-type']))) {
        body = 'this URL is a stream: use connectStream()'
        response.destroy()
      }
    })
  })
}

/**
 * Connects to a channel: over a real socket if the app listens, otherwise in memory.
 * @throws ChannelRefused, FST_ERR_REALTIME_OPTION_INVALID
 */
export async function connectChannel (
  app: FastifyInstance, url: string, options: ConnectChannelOptions = {}
): Promise<ChannelClient> {
  record('connectChannel()', options)
  onlyKnown('connectChannel()', options, KNOWN)
  const client = new ChannelClient(await linkTo(app), url, options)
  await client.open()
  return client
}
