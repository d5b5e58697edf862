/** The server of one trial: it takes what the client says, dial by dial, and misbehaves as its script says. */
import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Duplex } from 'node:stream'
import { WebSocketServer } from 'ws'
import type { ClientOrder } from './client-contract.ts'
import { Line, type Brought, type Frame, type LineOutlet } from './client-line.ts'
import type { Refusal, Scenario, Turn } from './client-script.ts'
import { httpOutlet, rawAnswer, socketOutlet, sseOutlet } from './client-outlets.ts'
import type { ClientWatch } from './client-watch.ts'

const PROTOCOL = 'fastify-realtime.v1'
const HEARTBEAT_MS = 25_000
const PATH = '/realtime'
const NOT_LET_IN = 4403

interface Dial { line: Line, turn: Turn, joined: Set<string> }

export class ScriptedServer {
  readonly #server: Server
  readonly #sockets = new WebSocketServer({ noServer: true, handleProtocols: () => PROTOCOL })
  readonly #scenario: Scenario
  readonly #watch: ClientWatch
  readonly #house: Pick<Line, 'told' | 'ask'>
  readonly #open = new Set<Duplex | ServerResponse>()
  #idle: Array<() => void> = []
  #current: Dial | undefined
  #order: ClientOrder | undefined
  /** What the client has brought, dial for dial. */
  readonly dials: Array<Brought | undefined> = []

  private constructor (scenario: Scenario, watch: ClientWatch, house: Pick<Line, 'told' | 'ask'>) {
    this.#scenario = scenario
    this.#watch = watch
    this.#house = house
    this.#server = createServer((request, response) => {
      this.#keep(response)
      this.#asked(request, response).catch((error: unknown) => watch.fault(String(error)))
    })
    this.#server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
      this.#keep(socket)
      this.#upgrade(request, socket, head)
    })
  }

  static async start (
    scenario: Scenario, watch: ClientWatch, house: Pick<Line, 'told' | 'ask'>
  ): Promise<ScriptedServer> {
    const server = new ScriptedServer(scenario, watch, house)
    server.#server.listen(0, '127.0.0.1')
    await once(server.#server, 'listening')
    return server
  }

  get url (): string { return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}${PATH}` }

  /** To be said before the client is started. */
  expect (order: ClientOrder): void { this.#order = order }

  /** Resolves when the client has let go of everything. */
  async idle (): Promise<void> {
    if (this.#open.size > 0) await new Promise<void>((resolve) => { this.#idle.push(resolve) })
  }

  async close (): Promise<void> {
    for (const open of this.#open) open.destroy()
    this.#server.closeAllConnections()
    this.#server.close()
    await once(this.#server, 'close')
  }

  #keep (open: Duplex | ServerResponse): void {
    this.#open.add(open)
    open.on('error', () => {})
    open.once('close', () => {
      this.#open.delete(open)
      if (this.#open.size === 0) for (const run of this.#idle.splice(0)) run()
    })
  }

  // --- a dial --------------------------------------------------------------------------------

  /** The turn of the next dial; a dial that no turn is for is a fault. */
  #next (): Turn | undefined {
    this.#watch.moved()
    this.#early()
    const turn = this.#scenario.turns[this.dials.length]
    this.dials.push(undefined)
    if (!turn) this.#watch.fault(`it has dialled ${this.dials.length} times, where ${this.dials.length - 1} were to be`)
    return turn
  }

  #early (): void {
    const { pause } = this.#scenario
    const endedAt = this.#current?.line.endedAt
    if (pause === undefined || endedAt === undefined) return
    const waited = Math.ceil(performance.now() - endedAt)
    if (waited < pause) this.#watch.fault(`it has come back after ${waited} ms, where the server has said ${pause}`)
  }

  #begin (turn: Turn, brought: Brought, outlet: LineOutlet): Dial {
    this.dials[this.dials.length - 1] = brought
    const line = new Line(this.#order as ClientOrder, brought, outlet, this.#house)
    this.#current = { line, turn, joined: new Set() }
    return this.#current
  }

  #hello ({ line, turn }: Dial): void {
    line.say({ op: 'open', connection: 'c', heartbeat: turn.heartbeat ?? HEARTBEAT_MS })
  }

  #join (dial: Dial, topic: string, ref?: unknown): void {
    const { line, turn, joined } = dial
    const [first, ...rest] = turn.joined?.(line, topic) ?? [subscribed(line, topic)]
    line.say({ ...first, ...ref !== undefined && { ref } }, ...rest)
    if (joined.has(topic)) return
    joined.add(topic)
    if (line.order.topics.every((one) => joined.has(one))) this.#play(dial)
  }

  #play ({ line, turn }: Dial): void {
    Promise.resolve(turn.play?.(line)).catch((error: unknown) => this.#watch.fault(String(error)))
  }

  // --- WebSocket -----------------------------------------------------------------------------

  #upgrade (request: IncomingMessage, socket: Duplex, head: Buffer): void {
    const turn = this.#next()
    const offered = String(request.headers['sec-websocket-protocol']).split(/, */)
    if (!offered.includes(PROTOCOL)) this.#watch.fault(`it has offered ${String(offered)} and not ${PROTOCOL}`)
    if (!turn || this.#watch.over) {
      socket.destroy()
      return
    }
    if (turn.refuse && turn.refuse.code === undefined) {
      socket.end(rawAnswer(turn.refuse))
      return
    }
    this.#sockets.handleUpgrade(request, socket, head, (client) => {
      client.on('error', () => {})
      const outlet = socketOutlet(client, socket)
      let dial: Dial | undefined
      client.on('message', (data: Buffer, binary: boolean) => {
        this.#watch.moved()
        if (binary) return this.#watch.fault('it has sent bytes, which nobody has asked for')
        const frame = parsed(data.toString())
        if (!frame) this.#watch.fault(`it has sent ${data.toString()}`)
        else if (dial) this.#said(dial, frame)
        else dial = this.#opening(turn, frame, outlet)
      })
    })
  }

  #opening (turn: Turn, frame: Frame, outlet: LineOutlet): Dial | undefined {
    if (frame.op !== 'open') {
      this.#watch.fault(`its first frame is ${JSON.stringify(frame)} and not an open`)
      return undefined
    }
    const dial = this.#begin(turn, { places: placesOf(frame), token: textOf(frame.token) }, outlet)
    const { line } = dial
    if (turn.refuse) {
      line.say({ op: 'error', code: turn.refuse.code, message: 'no' })
      line.bye(NOT_LET_IN, 'forbidden', { reconnect: false })
    } else if (!turn.mute) this.#hello(dial)
    return dial
  }

  #said (dial: Dial, frame: Frame): void {
    const { line, turn } = dial
    if (turn.refuse || turn.mute) return
    if (frame.op === 'ping' && turn.heartbeat === undefined) line.say({ op: 'pong' })
    if (frame.op === 'subscribe') {
      if (typeof frame.id === 'string') line.brought.places[String(frame.topic)] = frame.id
      this.#join(dial, String(frame.topic), frame.ref)
    }
    if (frame.op !== undefined) return line.hear(frame)
    line.heardMessage({
      frame,
      reply: (data) => line.say({ op: 'reply', ref: frame.ref, data }),
      fail: (code) => line.say({ op: 'error', ref: frame.ref, code, message: 'no' }),
      cut: () => { line.cut().catch(() => {}) }
    })
  }

  // --- HTTP ----------------------------------------------------------------------------------

  async #asked (request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method, headers: { authorization, ...headers } } = request
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk as Buffer)
    this.#watch.moved()
    const token = authorization?.replace(/^Bearer /, '')
    if (this.#order?.wire === 'sse' && method === 'GET') {
      const place = headers['last-event-id']
      return this.#stream(response, { places: place === undefined ? {} : { '': String(place) }, token })
    }
    const body = Buffer.concat(chunks).toString()
    const frame = parsed(body)
    const json = headers['content-type']?.startsWith('application/json')
    if (this.#order?.wire !== 'http' || method !== 'POST' || !json || !frame) {
      response.writeHead(405).end()
      return this.#watch.fault(`it has asked ${method ?? ''} ${request.url ?? ''} with ${body}`)
    }
    if (frame.op === 'open') this.#openStream(response, frame, token ?? textOf(frame.token))
    else this.#message(response, frame)
  }

  #openStream (response: ServerResponse, frame: Frame, token: string | undefined): void {
    const dial = this.#beginStream(response, { places: placesOf(frame), token }, httpOutlet(response))
    if (!dial) return
    this.#hello(dial)
    for (const topic of frame.topics as string[] ?? []) this.#join(dial, topic)
  }

  /** It belongs to the stream that was opened last. */
  #message (response: ServerResponse, frame: Frame): void {
    this.#current?.line.heardMessage({
      frame,
      reply: (data) => response.writeHead(200, JSON_TYPE).end(JSON.stringify(data)),
      fail: (code) => answer(response, { status: 409, code }),
      cut: () => response.destroy()
    })
  }

  #stream (response: ServerResponse, brought: Brought): void {
    const dial = this.#beginStream(response, brought, sseOutlet(response))
    if (dial) this.#play(dial)
  }

  /** Undefined where there is nothing to play. */
  #beginStream (response: ServerResponse, brought: Brought, outlet: LineOutlet): Dial | undefined {
    const turn = this.#next()
    if (!turn) response.destroy()
    if (!turn) return undefined
    const dial = this.#begin(turn, brought, outlet)
    if (turn.refuse) answer(response, turn.refuse)
    if (turn.refuse || turn.mute) return undefined
    response.writeHead(200, { 'content-type': 'text/event-stream' }).flushHeaders()
    return dial
  }
}

const JSON_TYPE = { 'content-type': 'application/json' }

function answer (response: ServerResponse, { status, headers, code, body }: Refusal): void {
  const text = code === undefined ? body : JSON.stringify({ statusCode: status, code, error: 'No', message: 'no' })
  response.writeHead(status, { ...code !== undefined && JSON_TYPE, ...headers }).end(text)
}

function subscribed ({ brought: { places } }: Line, topic: string): Frame {
  const place = places[topic]
  return { op: 'subscribed', topic, id: place ?? '0', ...place !== undefined && { recovered: true } }
}

function parsed (text: string): Frame | undefined {
  try {
    const frame: unknown = JSON.parse(text)
    return typeof frame === 'object' && frame !== null ? frame as Frame : undefined
  } catch {
    return undefined
  }
}

const textOf = (value: unknown): string | undefined => typeof value === 'string' ? value : undefined

const placesOf = ({ cursors }: Frame): Record<string, string> => ({ ...cursors as Record<string, string> | undefined })
