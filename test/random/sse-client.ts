/** The client of an event stream. */
import type { Duplex } from 'node:stream'
import { Client, type Json } from './client.ts'
import { Fault, type TopicModel } from './model.ts'

/** A native EventSource: a last event id, and nothing else, is kept from one connection to the next. */
export class SseClient extends Client {
  readonly kind = 'sse'
  #lastEventId = ''
  /** An event's own id, from a time when there was one topic, and now there are several: it says nothing of those. */
  #outgrown = false
  /** It may be that of a topic which has been left since, and the one joined in its place. */
  #foreign: string | undefined
  #sent = ''
  /** The topics with history that the last request named. */
  #asked: ReadonlySet<string> = new Set()
  /** Topics that are being joined at run time. */
  readonly #joining = new Set<string>()
  readonly #leaving = new Map<string, number>()
  /** Topics left at some time. */
  readonly #left = new Set<string>()
  #live = false

  protected open (link: Duplex): void {
    this.#live = false
    for (const view of this.views.values()) view.jumping = view.mayJump
    const names = [...this.topics.keys()].filter((name) => !this.#leaving.has(name))
    // A stream that was left by the app alone is not in the next request.
    for (const name of this.#leaving.keys()) this.#forget(name)
    const durable = [...this.topics.values()].filter(({ limit }) => limit !== undefined)
    const single = /^\d/.test(this.#lastEventId)
    this.#outgrown = single && durable.length > 1
    if (single && !durable.every(({ name }) => this.#asked.has(name))) this.#foreign = this.#lastEventId
    this.#sent = this.#lastEventId
    this.#asked = new Set(durable.map(({ name }) => name))
    const parts: Buffer[] = []
    link.write(`GET /stream/${this.slow}?client=${this.name}&topics=${names.join(',')} HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\n` +
      (this.#lastEventId === '' ? '' : `last-event-id: ${this.#lastEventId}\r\n`) + '\r\n')
    const blocks = new Blocks(this.#lastEventId, (block) => this.#block(block))
    const body = new ChunkedBody((bytes) => blocks.push(bytes))
    let inBody = false
    link.on('data', (bytes: Buffer) => this.guard(() => {
      if (inBody) return body.push(bytes)
      parts.push(bytes)
      const all = Buffer.concat(parts)
      const end = all.indexOf('\r\n\r\n')
      if (end === -1) return
      checkHead(all.subarray(0, end).toString('latin1'))
      inBody = true
      body.push(all.subarray(end + 4))
    }))
    link.on('error', () => {})
    link.once('close', () => {
      this.#live = false
      this.over()
    })
  }

  protected override get excuses (): string[] {
    if (this.#foreign === this.#sent) return [...super.excuses, 'unknown-cursor', 'expired']
    return this.#outgrown ? [...super.excuses, 'unknown-cursor'] : super.excuses
  }

  #forget (name: string): void {
    this.topics.delete(name)
    this.views.delete(name)
    this.loose.delete(name)
    this.#leaving.delete(name)
  }

  #block ({ event, data, id }: Block): void {
    this.#lastEventId = id
    if (data === undefined) return this.#moved()
    if (event === 'realtime:open') this.#opened(data)
    else if (event === 'realtime:reset') this.#reset(JSON.parse(data) as Json)
    else if (event === 'realtime:snapshot') this.#snapshot(JSON.parse(data) as Json)
    else if (event === 'state') this.#state(JSON.parse(data) as Json)
    else this.#event(event, event === 'bytes' ? Buffer.from(data, 'base64').toString() : data)
  }

  #event (name: string, text: string): void {
    const left = [...this.#leaving].find(([topic]) => text.startsWith(`{"topic":"${topic}"`))
    if (left && (JSON.parse(text) as { n: number }).n >= left[1]) throw new Fault(`${left[0]}: an event published after it was left`)
    const durable = [...this.views.values()]
    const only = durable.length === 1 && this.#leaving.size === 0 && this.topics.size === 1 ? this.#lastEventId : undefined
    this.event(name, text, only)
    // What it was told may have been for an event of its own, whose place came alone.
    for (const view of durable) if (!view.jumping && !view.ownAhead) view.mayJump = false
  }

  #opened (data: string): void {
    if (data !== '{}') throw new Fault(`an opening that says ${data}`)
    this.trace(`opening, id ${this.#lastEventId}`)
    for (const topic of this.topics.values()) {
      if (topic.limit === undefined) continue
      const view = this.view(topic)
      view.awaits = topic.snapshot && !view.placed
      if (!view.placed && !topic.snapshot) view.starts(this.stood.get(topic.name) ?? 0, topic.count)
      if (view.hi === Infinity) view.hi = topic.count
    }
    this.#live = true
  }

  #reset ({ topic: name, reason }: Json): void {
    this.reset(this.topic(name), reason)
  }

  #snapshot ({ topic: name, data }: Json): void {
    this.trace(`snapshot of ${String(name)}: ${JSON.stringify(data)}`)
    this.view(this.topic(name)).snapshot(this.stateOf(data))
  }

  #state (data: Json): void {
    this.trace(`state ${JSON.stringify(data)}`)
    this.view(this.topic(data.topic)).snapshot(this.stateOf(data))
  }

  #moved (): void {
    const { id } = this
    if (this.slow !== 'latest') {
      if ([...this.topics.values()].some(({ events }) => events.some(({ except }) => except !== undefined && except === id))) return
      throw new Fault('an id of its own on a stream that leaves nothing out')
    }
    this.trace('may leave some out')
    for (const view of this.views.values()) view.mayJump = true
  }

  protected hold (): void { this.link?.pause() }
  protected goOn (): void { this.link?.resume() }

  /** By the app: the client is not told. */
  join (topic: TopicModel): void {
    const connection = this.world.connections.get(this.name)
    if (!this.#live || !connection || connection.closed || this.topics.has(topic.name)) return
    this.trace(`joins ${topic.name}`)
    this.topics.set(topic.name, topic)
    if (topic.limit !== undefined) {
      const view = this.view(topic)
      // Until its first event the client has no sign of it: it may start over when it comes back.
      if (topic.snapshot) view.awaits = true
      // One that was left before may still be named by the last id: then it goes on from there.
      else view.starts(this.#left.has(topic.name) ? 0 : this.world.floor(topic), Infinity)
    }
    this.#joining.add(topic.name)
    connection.subscribe(topic.name).catch(() => {}).finally(() => this.#joining.delete(topic.name))
  }

  leave (topic: TopicModel): void {
    const connection = this.world.connections.get(this.name)
    if (!this.#live || !connection || connection.closed || !this.topics.has(topic.name) || this.#leaving.has(topic.name) ||
      this.#joining.has(topic.name) || this.topics.size - this.#leaving.size < 2) return
    this.trace(`leaves ${topic.name}`)
    connection.unsubscribe(topic.name)
    this.#left.add(topic.name)
    this.#leaving.set(topic.name, topic.count)
  }

  protected override get owed (): TopicModel[] {
    return super.owed.filter(({ name }) => !this.#leaving.has(name))
  }
}

function checkHead (head: string): void {
  if (!head.startsWith('HTTP/1.1 200 ') || !/\r\ntransfer-encoding: chunked/i.test(head) || !/\r\ncontent-type: text\/event-stream\r\n/i.test(head + '\r\n')) {
    throw new Fault(`an answer that is no stream: ${head}`)
  }
}

/** RFC 9112 §7.1, as strict as it gets. */
class ChunkedBody {
  readonly #data: (bytes: Buffer) => void
  #line = ''
  #left = 0
  #state: 'size' | 'data' | 'end' | 'over' = 'size'

  constructor (data: (bytes: Buffer) => void) {
    this.#data = data
  }

  push (bytes: Buffer): void {
    for (let at = 0; at < bytes.length;) at = this.#state === 'data' ? this.#body(bytes, at) : this.#lineEnd(bytes, at)
  }

  #body (bytes: Buffer, at: number): number {
    const part = bytes.subarray(at, at + this.#left)
    this.#left -= part.length
    if (this.#left === 0) this.#state = 'end'
    this.#data(part)
    return at + part.length
  }

  #lineEnd (bytes: Buffer, at: number): number {
    this.#line += String.fromCharCode(bytes[at] as number)
    if (!this.#line.endsWith('\r\n')) return at + 1
    const line = this.#line.slice(0, -2)
    this.#line = ''
    if (this.#state === 'end' && line !== '') throw new Fault(`"${line}" after a chunk`)
    if (this.#state === 'size') {
      if (!/^[0-9a-f]+$/.test(line)) throw new Fault(`a chunk of size "${line}"`)
      this.#left = parseInt(line, 16)
    }
    this.#state = this.#state === 'end' ? 'size' : this.#left === 0 ? 'over' : 'data'
    return at + 1
  }
}

interface Block { event: string, data: string | undefined, id: string }

/** WHATWG HTML §9.2.6: what is not ended by an empty line is thrown away, its id too. */
class Blocks {
  readonly #emit: (block: Block) => void
  readonly #decoder = new TextDecoder('utf-8', { fatal: true })
  #rest = ''
  #id: string
  #event = ''
  #data: string | undefined

  constructor (lastEventId: string, emit: (block: Block) => void) {
    this.#id = lastEventId
    this.#emit = emit
  }

  push (bytes: Buffer): void {
    const lines = (this.#rest + this.#decoder.decode(bytes, { stream: true })).split('\n')
    this.#rest = lines.pop() as string
    for (const line of lines) this.#line(line)
  }

  #line (line: string): void {
    if (line === '') return this.#dispatch()
    const [, field, value] = /^([^:]*):? ?(.*)$/s.exec(line) as unknown as [string, string, string]
    if (field === 'id') this.#id = value
    else if (field === 'event') this.#event = value
    else if (field === 'data') this.#data = this.#data === undefined ? value : `${this.#data}\n${value}`
    else if (field !== 'retry' && field !== '') throw new Fault(`a line of the stream: ${line}`)
    else if (field === '') this.#comment = true
  }

  #comment = false

  #dispatch (): void {
    const block = { event: this.#event || 'message', data: this.#data, id: this.#id }
    const heartbeat = this.#comment && this.#data === undefined
    this.#event = ''
    this.#data = undefined
    this.#comment = false
    if (!heartbeat) this.#emit(block)
  }
}
