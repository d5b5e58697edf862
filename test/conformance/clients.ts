/** Plain clients for the wire tests, written from PROTOCOL.md: they share no code with the library. */
import { once } from 'node:events'
import { get, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import Fastify, { type FastifyInstance } from 'fastify'
import { WebSocket } from 'ws'
import realtime, { type Connection, type RealtimeOptions } from '../../lib/index.ts'

export type Json = Record<string, unknown>

/** A test's context, of whichever runner. */
export interface Ends { teardown (end: () => unknown): unknown }

const GIVE_UP_MS = 10_000
export const SUBPROTOCOL = 'fastify-realtime.v1'

/** An app that listens, and closes when the test ends. */
export async function serve (t: Ends, options: RealtimeOptions, declare: (app: FastifyInstance) => void, log?: Log): Promise<FastifyInstance> {
  const app = log ? Fastify({ logger: { level: 'trace', stream: log } }) : Fastify()
  await app.register(realtime, options)
  declare(app)
  t.teardown(() => app.close())
  await app.listen({ port: 0, host: '127.0.0.1' })
  return app
}

export const portOf = (app: FastifyInstance): number => (app.server.address() as AddressInfo).port
export const connectionsOf = (app: FastifyInstance): Connection[] => app.realtime.connections()

/** What an app has logged. */
export class Log {
  readonly lines: Json[] = []

  write (line: string): void {
    this.lines.push(JSON.parse(line) as Json)
  }

  /** The codes (or messages) of the errors logged at this level or above. */
  errors (level = 50): unknown[] {
    return this.lines.filter((line) => Number(line.level) >= level)
      .map(({ err }) => (err as Json | undefined)?.code ?? (err as Json | undefined)?.message)
  }
}

/** What came, taken in order, and a way to wait for what has not. */
export class Inbox<T> {
  readonly all: T[] = []
  #untaken: T[] = []
  #look: Array<() => void> = []
  #over: string | undefined

  push (item: T): void {
    this.all.push(item)
    this.#untaken.push(item)
    this.#wake()
  }

  end (why: string): void {
    this.#over = why
    this.#wake()
  }

  #wake (): void {
    for (const look of [...this.#look]) look()
  }

  /** The first one of these that was not taken yet; those before it stay. */
  take (wanted: (item: T) => boolean = () => true, what = 'anything more'): Promise<T> {
    return new Promise((resolve, reject) => {
      const settle = (then: () => void): void => {
        clearTimeout(timer)
        this.#look = this.#look.filter((one) => one !== look)
        then()
      }
      const fail = (why: string): void => settle(() => {
        reject(new Error(`${why} while waiting for ${what}; got ${JSON.stringify(this.all.slice(-12))?.slice(0, 2000)}`))
      })
      const timer = setTimeout(() => fail('gave up'), GIVE_UP_MS)
      const look = (): void => {
        const index = this.#untaken.findIndex(wanted)
        if (index >= 0) settle(() => resolve(this.#untaken.splice(index, 1)[0] as T))
        else if (this.#over !== undefined) fail(this.#over)
      }
      this.#look.push(look)
      look()
    })
  }

  /** Everything not taken yet, and takes it. */
  drain (): T[] {
    return this.#untaken.splice(0)
  }
}

// --- event streams ------------------------------------------------------------

/** As an EventSource hands it on. */
export interface StreamEvent { type: string, data: string, lastEventId: string }

/** Strictly the algorithm of WHATWG HTML §9.2.6, for text that comes in pieces. */
export class EventStreamReader {
  readonly events: StreamEvent[] = []
  readonly comments: string[] = []
  /** The blocks as they came: their fields in order, without comments. */
  readonly blocks: Array<Array<[field: string, value: string]>> = []
  lastEventId = ''
  retry: number | undefined
  onEvent: (event: StreamEvent) => void = () => {}
  onBlock: (block: Array<[string, string]>) => void = () => {}
  onComment: (comment: string) => void = () => {}
  #line = ''
  #afterCr = false
  #fields: Array<[string, string]> = []
  #data = ''
  #type = ''
  #id: string | undefined

  push (text: string): this {
    let start = 0
    // The second half of a CRLF that came in two pieces.
    if (this.#afterCr && text.startsWith('\n')) start = 1
    if (text !== '') this.#afterCr = text.endsWith('\r')
    while (start < text.length) {
      const [cr, lf] = [text.indexOf('\r', start), text.indexOf('\n', start)]
      const end = Math.min(cr < 0 ? Infinity : cr, lf < 0 ? Infinity : lf)
      this.#line += text.slice(start, end)
      if (end === Infinity) break
      this.#endLine()
      start = end + (end === cr && lf === cr + 1 ? 2 : 1)
    }
    return this
  }

  #endLine (): void {
    const line = this.#line
    this.#line = ''
    if (line === '') return this.#dispatch()
    const colon = line.indexOf(':')
    if (colon === 0) {
      this.comments.push(line.slice(1))
      return this.onComment(line.slice(1))
    }
    const name = colon < 0 ? line : line.slice(0, colon)
    let value = colon < 0 ? '' : line.slice(colon + 1)
    if (value.startsWith(' ')) value = value.slice(1)
    this.#fields.push([name, value])
    if (name === 'event') this.#type = value
    else if (name === 'data') this.#data += value + '\n'
    else if (name === 'id' && !value.includes('\0')) this.#id = value
    else if (name === 'retry' && /^[0-9]+$/.test(value)) this.retry = Number(value)
  }

  #dispatch (): void {
    if (this.#id !== undefined) this.lastEventId = this.#id
    const [data, type, fields] = [this.#data, this.#type || 'message', this.#fields]
    this.#data = this.#type = ''
    this.#fields = []
    if (fields.length > 0) {
      this.blocks.push(fields)
      this.onBlock(fields)
    }
    if (data === '') return
    const event = { type, data: data.slice(0, -1), lastEventId: this.lastEventId }
    this.events.push(event)
    this.onEvent(event)
  }
}

/** Text of a whole stream, interpreted. */
export const readEventStream = (text: string): EventStreamReader => new EventStreamReader().push(text)

export class Stream {
  readonly inbox = new Inbox<StreamEvent>()
  readonly blocks = new Inbox<Array<[string, string]>>()
  readonly comments = new Inbox<string>()
  readonly reader = new EventStreamReader()
  readonly response: IncomingMessage
  readonly ended: Promise<void>

  constructor (response: IncomingMessage) {
    this.response = response
    this.reader.onEvent = (event) => this.inbox.push(event)
    this.reader.onBlock = (block) => this.blocks.push(block)
    this.reader.onComment = (comment) => this.comments.push(comment)
    response.setEncoding('utf8')
    response.on('data', (text: string) => this.reader.push(text))
    response.on('error', () => {})
    this.ended = new Promise((resolve) => response.once('close', () => {
      for (const inbox of [this.inbox, this.blocks, this.comments]) inbox.end('the stream ended')
      resolve()
    }))
  }

  /** Stops reading. */
  pause (): void {
    // Both: a response that flows would make its socket flow again.
    this.response.pause()
    this.response.socket.pause()
  }

  resume (): void {
    this.response.socket.resume()
    this.response.resume()
  }

  get lastEventId (): string { return this.reader.lastEventId }

  next (type?: string): Promise<StreamEvent> {
    return this.inbox.take((event) => type === undefined ? !event.type.startsWith('realtime:') : event.type === type, type ?? 'any event')
  }

  /** The data of the next event. */
  async json (type?: string): Promise<unknown> {
    return JSON.parse((await this.next(type)).data)
  }

  async leave (): Promise<void> {
    this.response.destroy()
    await this.ended
  }
}

/** The answer to a request, whatever it is. */
export async function request (t: Ends, app: FastifyInstance, path: string, headers: Record<string, string> = {}): Promise<IncomingMessage> {
  const asked = get({ host: '127.0.0.1', port: portOf(app), path, agent: false, headers: { accept: 'text/event-stream', ...headers } })
  t.teardown(() => asked.destroy())
  const [response] = await once(asked, 'response') as [IncomingMessage]
  asked.on('error', () => {})
  return response
}

/** An answer that is no stream. */
export async function answer (t: Ends, app: FastifyInstance, path: string, headers: Record<string, string> = {}): Promise<{ status: number, headers: IncomingMessage['headers'], text: string }> {
  const response = await request(t, app, path, headers)
  response.setEncoding('utf8')
  let text = ''
  for await (const part of response) text += part as string
  return { status: response.statusCode ?? 0, headers: response.headers, text }
}

/** A stream that is open. */
export async function openStream (t: Ends, app: FastifyInstance, path: string, { lastEventId, ...headers }: Record<string, string> & { lastEventId?: string } = {}): Promise<Stream> {
  const response = await request(t, app, path, { ...headers, ...(lastEventId === undefined ? {} : { 'last-event-id': lastEventId }) })
  if (response.statusCode !== 200) throw Object.assign(new Error(`answered ${response.statusCode}`), { statusCode: response.statusCode })
  return new Stream(response)
}

// --- WebSockets ---------------------------------------------------------------

export interface Ended { code: number, reason: string }

export class Channel {
  readonly ws: WebSocket
  /** Text frames, parsed. */
  readonly inbox = new Inbox<Json>()
  readonly bytes = new Inbox<Buffer>()
  readonly ended: Promise<Ended>

  constructor (ws: WebSocket) {
    this.ws = ws
    ws.on('message', (data: Buffer, binary) => {
      if (binary) this.bytes.push(data)
      else this.inbox.push(JSON.parse(data.toString()) as Json)
    })
    ws.on('error', () => {})
    this.ended = new Promise((resolve) => ws.once('close', (code, reason) => {
      this.inbox.end(`the channel was closed with ${code}`)
      this.bytes.end(`the channel was closed with ${code}`)
      resolve({ code, reason: reason.toString() })
    }))
  }

  /** A frame with these members. */
  next (members: Json = {}): Promise<Json> {
    const wanted = Object.entries(members)
    return this.inbox.take((frame) => wanted.every(([key, value]) => frame[key] === value), JSON.stringify(members))
  }

  send (message: unknown): void {
    this.ws.send(typeof message === 'string' || message instanceof Uint8Array ? message : JSON.stringify(message))
  }

  async leave (): Promise<Ended> {
    this.ws.close(1000)
    return await this.ended
  }
}

export interface ChannelHeaders { protocols?: string[], headers?: Record<string, string> }

/** A WebSocket that is open. */
export async function openChannel (t: Ends, app: FastifyInstance, path: string, { protocols = [], headers = {} }: ChannelHeaders = {}): Promise<Channel> {
  const ws = new WebSocket(`ws://127.0.0.1:${portOf(app)}${path}`, protocols, { headers, perMessageDeflate: false })
  const channel = new Channel(ws)
  t.teardown(() => ws.terminate())
  await new Promise<void>((resolve, reject) => {
    ws.once('open', resolve)
    ws.once('unexpected-response', (_request, { statusCode }) => {
      ws.terminate()
      reject(Object.assign(new Error(`answered ${statusCode}`), { statusCode }))
    })
  })
  return channel
}

/** One that speaks the envelope, and has said `open`. */
export async function openEnvelope (t: Ends, app: FastifyInstance, path: string, cursors?: Record<string, string>): Promise<Channel> {
  const channel = await openChannel(t, app, path, { protocols: [SUBPROTOCOL] })
  channel.send({ op: 'open', cursors })
  await channel.next({ op: 'open' })
  return channel
}

/** The next turn of the event loop: what was published in this one is written by then. */
export const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

export interface Deferred<T> { promise: Promise<T>, resolve: (value: T) => void, reject: (error: unknown) => void }

export function deferred<T> (): Deferred<T> {
  const made = {} as Deferred<T>
  made.promise = new Promise((resolve, reject) => Object.assign(made, { resolve, reject }))
  return made
}

/** One of plain JSON that listens. */
export async function listenFlat (t: Ends, app: FastifyInstance, path: string): Promise<Channel> {
  const before = connectionsOf(app).length
  const channel = await openChannel(t, app, path)
  while (connectionsOf(app).filter(({ topics }) => topics.length > 0).length <= before) await turn()
  return channel
}
