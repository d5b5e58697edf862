/** Clients of three kinds, which come back whenever they are cut off, and hold what they get against the model. */
import type { Duplex } from 'node:stream'
import { WebSocket } from 'ws'
import { Fault, LooseView, View, type State, type TopicModel } from './model.ts'
import type { Cut } from './links.ts'
import { turns, type Random } from './random.ts'
import type { World } from './world.ts'

export type Slow = 'close' | 'latest' | 'reset'

export interface ClientOptions {
  readonly name: string
  readonly world: World
  readonly random: Random
  readonly topics: TopicModel[]
  readonly slow: Slow
  readonly trace: (text: string) => void
  /** Something was received, or went wrong. */
  readonly changed: () => void
  /** How often it may be cut off. */
  readonly cuts: number
}

type Json = Record<string, unknown>

export abstract class Client {
  abstract readonly kind: 'sse' | 'flat' | 'envelope'
  readonly name: string
  readonly views = new Map<string, View>()
  fault: Error | undefined
  protected readonly world: World
  protected readonly random: Random
  protected readonly slow: Slow
  protected readonly topics = new Map<string, TopicModel>()
  protected readonly loose = new Map<string, LooseView>()
  /** Where the topics stood when this connection was asked for. */
  protected readonly stood = new Map<string, number>()
  readonly #options: ClientOptions
  #cutsLeft: number
  #stopped = false
  #paused = false
  protected link: Duplex | undefined

  constructor (options: ClientOptions) {
    this.#options = options
    this.name = options.name
    this.world = options.world
    this.random = options.random
    this.slow = options.slow
    this.#cutsLeft = options.cuts
    for (const topic of options.topics) this.topics.set(topic.name, topic)
  }

  trace (text: string): void {
    this.#options.trace(`${this.name}: ${text}`)
  }

  connect (): void {
    if (this.#stopped) return
    this.stood.clear()
    for (const topic of this.topics.values()) this.stood.set(topic.name, this.world.floor(topic))
    const cut = this.#nextCut()
    this.trace(`connects${cut ? `, to be cut after ${JSON.stringify(cut)}` : ''}`)
    const link = this.world.links.open(cut)
    this.link = link
    this.open(link)
    if (this.#paused) this.hold()
  }

  /** Reasons of a reset that need no history to be gone. */
  protected get excuses (): string[] {
    return this.slow === 'reset' ? ['slow'] : []
  }

  #nextCut (): Cut | undefined {
    if (this.#cutsLeft <= 0 || this.random.chance(0.2)) return undefined
    this.#cutsLeft--
    const hard = this.random.chance(0.3)
    // In the head, around the opening, or later.
    if (this.random.chance(0.12)) return { up: this.random.int(0, 500), hard }
    return { down: this.random.int(0, this.random.pick([150, 700, 700, 2500, 20_000])), hard }
  }

  /** Starts the protocol on a new connection. */
  protected abstract open (link: Duplex): void
  protected abstract hold (): void
  protected abstract goOn (): void

  /** The connection is over: comes back a little later. */
  protected over (): void {
    this.link = undefined
    this.trace('is cut off')
    if (this.#stopped) return
    turns(this.random.int(0, 6)).then(() => this.connect(), () => {})
  }

  /** Cut off in this moment. */
  drop (): void {
    if (!this.link || this.#cutsLeft-- <= 0) return
    this.trace('is dropped')
    this.link.destroy()
  }

  pause (): void {
    if (this.#paused) return
    this.trace('stops reading')
    this.#paused = true
    this.hold()
  }

  resume (): void {
    if (!this.#paused) return
    this.trace('reads again')
    this.#paused = false
    this.goOn()
  }

  calm (): void {
    this.#cutsLeft = 0
    this.resume()
  }

  close (): void {
    this.#stopped = true
    this.link?.destroy()
  }

  /** Everything is here that can be. */
  get level (): boolean {
    return this.owed.every(({ name }) => this.views.get(name)?.level)
  }

  get exact (): boolean {
    return this.owed.every(({ name }) => this.views.get(name)?.exact)
  }

  /** An event left out for a newer one of its key was followed by that. */
  checkSkipped (): void {
    for (const { name } of this.owed) this.views.get(name)?.checkSkipped()
  }

  /** The topics of which every event must come. */
  protected get owed (): TopicModel[] {
    return [...this.topics.values()].filter(({ limit }) => limit !== undefined)
  }

  abstract join (topic: TopicModel): void
  abstract leave (topic: TopicModel): void

  /** Runs what handles something received; a fault ends the schedule. */
  protected guard (run: () => void): void {
    try {
      run()
    } catch (error) {
      this.fail(error as Error)
    }
    this.#options.changed()
  }

  protected fail (error: Error): void {
    this.fault ??= error instanceof Fault ? error : new Fault(error.stack ?? String(error))
    this.trace(`FAULT ${error.message}`)
    this.#options.changed()
  }

  protected topic (name: unknown): TopicModel {
    const topic = this.topics.get(String(name))
    if (!topic) throw new Fault(`a topic that nobody joined: ${String(name)}`)
    return topic
  }

  protected view (topic: TopicModel): View {
    let view = this.views.get(topic.name)
    if (!view) this.views.set(topic.name, view = new View(topic, this.world.idsOf(this.name)))
    return view
  }

  /** The id of its connection. */
  protected get id (): string | undefined {
    return this.world.connections.get(this.name)?.id
  }

  protected event (name: string, text: string, id?: string): void {
    const { topic: topicName, n } = JSON.parse(text) as { topic: string, n: number }
    const topic = this.topic(topicName)
    const said = topic.recognize(n, name, text, id)
    this.trace(`${topic.name} event ${said.n}`)
    if (said.except !== undefined && said.except === this.id) throw new Fault(`${topic.name}: event ${said.n} came back to its sender`)
    if (topic.limit !== undefined) return this.view(topic).event(said.n)
    let loose = this.loose.get(topic.name)
    if (!loose) this.loose.set(topic.name, loose = new LooseView(topic))
    loose.event(said.n)
  }

  protected reset (topic: TopicModel, reason: unknown): void {
    this.trace(`reset of ${topic.name}: ${String(reason)}`)
    if (topic.limit !== undefined) this.view(topic).reset(reason, this.excuses)
    else if (!this.excuses.includes(String(reason))) throw new Fault(`${topic.name}: reset for ${String(reason)}, and it has no history`)
  }

  protected stateOf (data: unknown): State {
    const { n, exact } = data as { n: unknown, exact: unknown }
    if (typeof n !== 'number') throw new Fault(`a snapshot without its number: ${JSON.stringify(data)}`)
    return { n, exact: exact === true }
  }
}

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

abstract class SocketClient extends Client {
  protected ws: WebSocket | undefined

  protected connectTo (link: Duplex, protocols: string[]): void {
    const names = [...this.topics.keys()]
    const ws = new WebSocket(`ws://localhost/channel/${this.slow}?client=${this.name}&topics=${names.join(',')}`, protocols, {
      createConnection: () => link as never,
      perMessageDeflate: false
    })
    this.ws = ws
    ws.on('open', () => this.guard(() => this.opened(ws)))
    ws.on('message', (data: Buffer, binary) => this.guard(() => this.message(data, binary)))
    ws.on('unexpected-response', (_request, { statusCode }) => this.fail(new Fault(`an upgrade was answered with ${statusCode}`)))
    ws.on('error', () => {})
    ws.once('close', () => {
      link.destroy()
      this.over()
    })
  }

  protected abstract opened (ws: WebSocket): void
  protected abstract message (data: Buffer, binary: boolean): void

  protected hold (): void { this.ws?.pause() }
  protected goOn (): void { this.ws?.resume() }

  protected send (message: Json): void {
    if (this.ws?.readyState === WebSocket.OPEN) this.ws.send(JSON.stringify(message))
  }
}

/** Knows nothing but the application's messages: after each reconnect it is a new client. */
export class FlatClient extends SocketClient {
  readonly kind = 'flat'

  protected open (link: Duplex): void {
    this.views.clear()
    this.loose.clear()
    this.connectTo(link, [])
    for (const topic of this.topics.values()) {
      if (topic.limit === undefined) continue
      const view = this.view(topic)
      if (topic.snapshot) view.awaits = true
      else view.starts(this.stood.get(topic.name) ?? 0, Infinity)
    }
  }

  /** The answer comes when the topics are joined. */
  protected opened (): void {
    this.send({ type: 'sync' })
  }

  protected message (data: Buffer, binary: boolean): void {
    if (binary) return this.event('bytes', data.toString())
    const { type, ...rest } = JSON.parse(data.toString()) as Json
    if (type === 'synced') return this.#synced()
    if (type === 'state') return this.#state(rest)
    if (type !== 'error') return this.event(String(type), JSON.stringify(rest))
    if (rest.code !== 'reset') throw new Fault(`an error: ${JSON.stringify(rest)}`)
    this.reset(this.topic(rest.topic), rest.reason)
  }

  #state (rest: Json): void {
    this.trace(`state ${JSON.stringify(rest)}`)
    this.view(this.topic(rest.topic)).snapshot(this.stateOf(rest))
  }

  #synced (): void {
    for (const view of this.views.values()) if (view.hi === Infinity) view.hi = view.topic.count
  }

  /** Not before it knows that it has joined: until then nothing is owed. */
  override get level (): boolean {
    return super.level && [...this.views.values()].every(({ hi }) => hi !== Infinity)
  }

  join (): void {}
  leave (): void {}
}

/** `fastify-realtime.v1`: keeps the last id of each topic, and checks every link by itself. */
export class EnvelopeClient extends SocketClient {
  readonly kind = 'envelope'
  readonly #held = new Map<string, string>()
  /** The cursors that this connection was asked to go on from. */
  readonly #asked = new Map<string, string>()
  readonly #leaving = new Set<string>()
  /** Topics that were left, with the place to go on from. */
  readonly #left = new Map<string, { id: string, view: View }>()
  /** A `reset` must come: the cursor was not found. */
  readonly #owed = new Set<string>()

  protected open (link: Duplex): void {
    for (const name of this.#leaving) this.#forget(name)
    this.#leaving.clear()
    this.#owed.clear()
    this.connectTo(link, ['fastify-realtime.v1'])
  }

  #forget (name: string): void {
    this.topics.delete(name)
    this.views.delete(name)
    this.loose.delete(name)
    this.#held.delete(name)
  }

  protected opened (): void {
    this.#asked.clear()
    for (const [name, id] of this.#held) this.#asked.set(name, id)
    this.send({ op: 'open', cursors: Object.fromEntries(this.#held) })
  }

  protected message (data: Buffer, binary: boolean): void {
    if (!binary) return this.#frame(JSON.parse(data.toString()) as Json, undefined)
    const length = data.readUInt32BE(0)
    this.#frame(JSON.parse(data.subarray(4, 4 + length).toString()) as Json, data.subarray(4 + length).toString())
  }

  #frame (frame: Json, bytes: string | undefined): void {
    const { op, topic: name, id } = frame
    if (op === undefined) return this.#event(frame, bytes)
    this.trace(`frame ${JSON.stringify(frame)}`)
    if (op === 'open' || op === 'bye') return
    if (op === 'error') throw new Fault(`an error: ${JSON.stringify(frame)}`)
    const topic = this.topic(name)
    if (op === 'unsubscribed') {
      this.#leaving.delete(topic.name)
      const id = this.#held.get(topic.name)
      const view = this.views.get(topic.name)
      if (id !== undefined && view?.placed) this.#left.set(topic.name, { id, view })
      return this.#forget(topic.name)
    }
    if (topic.limit === undefined) return
    this.#told(op, topic, id === undefined ? undefined : String(id), frame)
    if (id !== undefined) this.#held.set(topic.name, String(id))
  }

  #event ({ topic: name, event, id, prev, data }: Json, bytes: string | undefined): void {
    const topic = this.topic(name)
    if (this.#owed.has(topic.name)) throw new Fault(`${topic.name}: an event where a reset was due`)
    if (topic.limit !== undefined) {
      if (prev !== this.#held.get(topic.name)) throw new Fault(`${topic.name}: ${String(prev)} does not link to ${this.#held.get(topic.name)}`)
      this.#held.set(topic.name, String(id))
    }
    this.event(String(event), bytes ?? JSON.stringify(data), topic.limit === undefined ? undefined : String(id))
  }

  #told (op: unknown, topic: TopicModel, id: string | undefined, frame: Json): void {
    const view = this.view(topic)
    const to = id === undefined ? undefined : topic.after(id)
    switch (op) {
      case 'subscribed': return this.#subscribed(view, id, to, frame.recovered)
      case 'reset':
        this.#owed.delete(topic.name)
        return view.reset(frame.reason, this.excuses, to)
      case 'snapshot': return view.snapshot(this.stateOf(frame.data), to)
      case 'at':
        if (frame.why === 'excepted') return this.#excepted(view, to)
        if (frame.why !== 'conflated' || this.slow !== 'latest' || to === undefined) throw new Fault(`a move: ${JSON.stringify(frame)}`)
        return view.moves(to)
      default: throw new Fault(`a frame: ${JSON.stringify(frame)}`)
    }
  }

  /** Its own event, and nothing else, is left out. */
  #excepted (view: View, to: number | undefined): void {
    const { topic } = view
    // Nobody knows the id yet: the events that follow show by their numbers what this was.
    if (to === undefined) return
    if (topic.events[to - 1]?.except !== this.id) throw new Fault(`${topic.name}: event ${to - 1} is left out, and is not its own`)
    if (view.hi < to - 1 && this.slow !== 'latest') throw new Fault(`${topic.name}: moved from ${view.hi} past ${to - 1}`)
    view.moves(to)
  }

  #subscribed (view: View, id: string | undefined, to: number | undefined, recovered: unknown): void {
    const { topic } = view
    const asked = this.#asked.get(topic.name)
    if ((recovered === undefined) !== (asked === undefined)) throw new Fault(`${topic.name}: recovered is ${String(recovered)}, the cursor was ${asked}`)
    view.awaits = topic.snapshot && recovered !== true
    if ((id === undefined) !== (view.awaits || recovered === false)) throw new Fault(`${topic.name}: subscribed at ${id}`)
    if (recovered === true && id !== asked) throw new Fault(`${topic.name}: recovered at ${id}, and not at ${asked}`)
    if (recovered === false) this.#owed.add(topic.name)
    if (recovered !== undefined || view.awaits) return
    const floor = this.stood.get(topic.name) ?? 0
    if (to !== undefined && (to < floor || to > topic.count)) throw new Fault(`${topic.name}: a new client starts at ${to}, not in ${floor}..${topic.count}`)
    view.starts(to ?? floor, to ?? topic.count)
  }

  join (topic: TopicModel): void {
    if (this.ws?.readyState !== WebSocket.OPEN || this.topics.has(topic.name)) return
    this.trace(`joins ${topic.name}`)
    this.topics.set(topic.name, topic)
    this.stood.set(topic.name, this.world.floor(topic))
    const left = this.random.chance(0.6) ? this.#left.get(topic.name) : undefined
    this.#left.delete(topic.name)
    if (left) {
      this.views.set(topic.name, left.view)
      this.#held.set(topic.name, left.id)
      this.#asked.set(topic.name, left.id)
    } else {
      if (topic.limit !== undefined) this.view(topic)
      this.#asked.delete(topic.name)
    }
    this.send({ op: 'subscribe', topic: topic.name, ...(left && { id: left.id }) })
  }

  leave (topic: TopicModel): void {
    if (this.ws?.readyState !== WebSocket.OPEN || !this.topics.has(topic.name) || this.#leaving.has(topic.name) ||
      this.topics.size - this.#leaving.size < 2) return
    this.trace(`leaves ${topic.name}`)
    this.#leaving.add(topic.name)
    this.send({ op: 'unsubscribe', topic: topic.name })
  }

  override get level (): boolean {
    return this.#leaving.size === 0 && this.#owed.size === 0 && super.level
  }
}
