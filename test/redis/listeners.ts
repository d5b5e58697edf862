/** Clients of the chaos suite. They come back by themselves, on any node, with their cursor, and write down what they got. */
import { get, type ClientRequest, type IncomingMessage } from 'node:http'
import { WebSocket } from 'ws'

export interface Heard { readonly type: 'event', readonly p: string, readonly n: number, readonly id: string | undefined, readonly prev: string | undefined }
export interface WasReset { readonly type: 'reset', readonly reason: string, readonly at: string | undefined }
export type Note = Heard | WasReset

interface Data { t: string, p: string, n: number, m?: string }

export interface ListenerHost {
  /** Where a node listens; undefined while there is none. */
  readonly port: () => number | undefined
  readonly heard: () => void
  readonly trace: (text: string) => void
}

/** Nodes beat every 400 ms: one that is silent for so long is left. */
const SILENT_MS = 2500
const BACK_MS = 40

export abstract class Listener {
  readonly name: string
  readonly topics: readonly string[]
  readonly notes = new Map<string, Note[]>()
  readonly markers = new Set<string>()
  readonly faults: string[] = []
  opened = false
  connects = 0
  protected readonly host: ListenerHost
  #watch: NodeJS.Timeout | undefined
  #closed = false

  constructor (name: string, topics: readonly string[], host: ListenerHost) {
    this.name = name
    this.topics = topics
    this.host = host
    for (const topic of topics) this.notes.set(topic, [])
  }

  protected abstract open (port: number): void
  protected abstract cut (): void

  connect (): void {
    if (this.#closed) return
    const port = this.host.port()
    if (port === undefined) return this.over()
    this.connects++
    this.alive()
    this.open(port)
  }

  close (): void {
    this.#closed = true
    clearTimeout(this.#watch)
    this.cut()
  }

  /** The connection is over. Comes back. */
  protected over (): void {
    clearTimeout(this.#watch)
    if (!this.#closed) setTimeout(() => this.connect(), BACK_MS * (0.5 + Math.random()))
  }

  /** Something came. */
  protected alive (): void {
    clearTimeout(this.#watch)
    if (this.#closed) return
    this.#watch = setTimeout(() => {
      this.host.trace(`${this.name} hears nothing and leaves`)
      this.cut()
    }, SILENT_MS)
  }

  protected event (data: Data, id: string | undefined, prev: string | undefined): void {
    this.notes.get(data.t)?.push({ type: 'event', p: data.p, n: data.n, id, prev })
    if (data.m === undefined) return
    this.markers.add(`${data.m} ${data.p} ${data.t}`)
    this.host.heard()
  }

  protected reset (topic: string, reason: string, at: string | undefined): void {
    this.host.trace(`${this.name} is reset in ${topic}: ${reason}`)
    this.notes.get(topic)?.push({ type: 'reset', reason, at })
  }

  protected isOpen (): void {
    this.opened = true
    this.host.heard()
  }
}

/** An EventSource: of all it was told it keeps the last event id. */
export class StreamListener extends Listener {
  #request: ClientRequest | undefined
  #cursor = ''

  protected override open (port: number): void {
    const headers = { accept: 'text/event-stream', ...(this.#cursor !== '' && { 'last-event-id': this.#cursor }) }
    const request = get({ port, host: '127.0.0.1', path: `/stream?topics=${this.topics.join(',')}`, headers, agent: false })
    this.#request = request
    request.on('response', (response) => this.#read(response))
    request.on('error', () => {})
    request.once('close', () => this.over())
  }

  protected override cut (): void {
    this.#request?.destroy()
  }

  #read (response: IncomingMessage): void {
    if (response.statusCode !== 200) this.faults.push(`a stream was answered ${response.statusCode}`)
    response.setEncoding('utf8')
    response.on('error', () => {})
    let text = ''
    response.on('data', (chunk: string) => {
      this.alive()
      text += chunk
      for (let end = text.indexOf('\n\n'); end >= 0; end = text.indexOf('\n\n')) {
        this.#block(text.slice(0, end))
        text = text.slice(end + 2)
      }
    })
  }

  #block (block: string): void {
    let event = 'message'
    let data = ''
    let id: string | undefined
    for (const line of block.split('\n')) {
      const colon = line.indexOf(':')
      const value = line.slice(colon + 1).replace(/^ /, '')
      if (line.startsWith('event:')) event = value
      else if (line.startsWith('data:')) data += value
      else if (line.startsWith('id:')) id = value
    }
    if (id !== undefined) this.#cursor = id
    if (data === '') return
    if (event === 'realtime:open') return this.isOpen()
    const only = this.topics.length === 1 ? id : undefined
    if (event === 'realtime:reset') {
      const { topic, reason } = JSON.parse(data) as { topic: string, reason: string }
      return this.reset(topic, reason, only)
    }
    this.event(JSON.parse(data) as Data, only, undefined)
  }
}

interface Frame { op?: string, topic: string, event?: string, id?: string, prev?: string, recovered?: boolean, reason: string, data: Data }

/** A client of the envelope format: it checks each link. */
export class ChannelListener extends Listener {
  #socket: WebSocket | undefined
  readonly #at = new Map<string, string>()
  /** A reset is owed: the cursor was not found. */
  readonly #owed = new Set<string>()

  protected override open (port: number): void {
    const socket = new WebSocket(`ws://127.0.0.1:${port}/channel?topics=${this.topics.join(',')}`, 'fastify-realtime.v1')
    this.#socket = socket
    this.#owed.clear()
    socket.on('open', () => socket.send(JSON.stringify({ op: 'open', cursors: Object.fromEntries(this.#at) })))
    socket.on('ping', () => this.alive())
    socket.on('message', (message) => {
      this.alive()
      this.#frame(JSON.parse(String(message)) as Frame)
    })
    socket.on('error', () => {})
    socket.once('close', () => this.over())
  }

  protected override cut (): void {
    this.#socket?.terminate()
  }

  #frame (frame: Frame): void {
    const { topic, id } = frame
    if (frame.op === undefined) this.#event(frame)
    else if (frame.op === 'subscribed') this.#subscribed(frame)
    else if (frame.op === 'reset') {
      this.#owed.delete(topic)
      if (id !== undefined) this.#at.set(topic, id)
      this.reset(topic, frame.reason, id)
    } else if (frame.op === 'at' || frame.op === 'error') this.faults.push(`an unexpected frame: ${JSON.stringify(frame)}`)
  }

  #subscribed ({ topic, id, recovered }: Frame): void {
    if (recovered === false) this.#owed.add(topic)
    const at = this.#at.get(topic)
    if (recovered && id !== at) this.faults.push(`${topic}: it was at ${at} and is resumed at ${id}`)
    if (recovered === undefined && at !== undefined && id !== undefined) this.faults.push(`${topic}: its cursor ${at} was not looked at`)
    if (recovered === undefined && id !== undefined) this.#at.set(topic, id)
    if (this.#at.size === this.topics.length) this.isOpen()
  }

  #event ({ topic, id, prev, data }: Frame): void {
    if (this.#owed.has(topic)) this.faults.push(`${topic}: an event where a reset was owed`)
    const at = this.#at.get(topic)
    if (prev !== at) this.faults.push(`${topic}: ${data.p} ${data.n} (${id}) follows ${prev}, and this client is at ${at}`)
    this.#at.set(topic, id as string)
    this.event(data, id, prev)
  }
}
