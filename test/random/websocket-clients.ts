/** The clients of a WebSocket: one of plain JSON, and one of the envelope. */
import type { Duplex } from 'node:stream'
import { WebSocket } from 'ws'
import { Client, type Json } from './client.ts'
import { Fault, type TopicModel, type View } from './model.ts'

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
    // Between them may be others of its own, whose ids nobody knew when it was told of them.
    const between = topic.events.slice(view.hi, to - 1)
    if (this.slow !== 'latest' && between.some(({ except }) => except !== this.id)) throw new Fault(`${topic.name}: moved from ${view.hi} past ${to - 1}`)
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
