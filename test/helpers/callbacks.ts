/** Every callback of the public API, everything it can do wrong, and an app that has them. */
import { once } from 'node:events'
import { get, type IncomingMessage } from 'node:http'
import Fastify, { type FastifyInstance } from 'fastify'
import type { Test } from 'tap'
import { WebSocket } from 'ws'
import realtime, { type RealtimeOptions } from '../../lib/index.ts'
import type { Hub } from '../../lib/core/hub.ts'
import { Inbox, portOf, SUBPROTOCOL, turn, type Json } from '../conformance/clients.ts'

export interface Fault {
  readonly name: string
  /** Throws, or returns what the callback returns. */
  run (): unknown
  /** Throws it, for callbacks that are not waited for. */
  readonly sync: boolean
  /** What was thrown asks for this status. */
  readonly status?: number
  readonly hangs?: boolean
}

export const withGetter = (property: string): Error => Object.defineProperty(new Error('with a getter'), property, { get () { throw new Error('the getter') }, enumerable: true })
export const trap = (): never => { throw null } // eslint-disable-line no-throw-literal
export const hostile = (target: object): object => new Proxy(target, { get: trap, has: trap, ownKeys: trap, getPrototypeOf: trap, getOwnPropertyDescriptor: trap })

export const thrown: Array<[name: string, value: () => unknown, status?: number]> = [
  ['an Error', () => new Error('plain')],
  ['an Error with a status', () => Object.assign(new Error('conflict'), { statusCode: 409 }), 409],
  ['an Error with a status that is none', () => Object.assign(new Error('fine?'), { statusCode: 200 })],
  ['a string', () => 'forbidden'],
  ['undefined', () => undefined],
  ['null', () => null],
  ['an object', () => ({ some: 'object' })],
  ['a frozen object', () => Object.freeze({ message: 'frozen', statusCode: 409 }), 409],
  ['a frozen Error', () => Object.freeze(new Error('frozen'))],
  ['an Error with a getter that throws', () => withGetter('details')],
  ['an Error whose message throws', () => withGetter('message')],
  ['an Error with a frozen cause', () => new Error('outer', { cause: Object.freeze(new Error('inner')) })],
  ['a proxy that throws', () => hostile(new Error('proxied'))],
  ['a symbol', () => Symbol('thrown')]
]

export const raise = (value: unknown): never => { throw value }

export const faults: Fault[] = [
  ...thrown.map(([name, value, status]): Fault => ({ name: `throws ${name}`, sync: true, run: () => raise(value()), ...status && { status } })),
  ...thrown.map(([name, value, status]): Fault => ({ name: `rejects with ${name}`, sync: false, run: () => Promise.reject(value()), ...status && { status } })),
  { name: 'returns a thenable that throws', sync: false, run: () => ({ then: () => raise(null) }) },
  { name: 'returns a thenable whose getter throws', sync: false, run: () => ({ get then () { return raise(undefined) } }) },
  { name: 'returns a proxy that throws', sync: false, run: () => hostile({}) },
  { name: 'never settles', sync: false, hangs: true, run: () => new Promise(() => {}) }
]

/** Of a public address: those are counted. */
export const HEADERS = { 'x-forwarded-for': '203.0.113.7' }

/** `500`, `retry` (a stream that says when to come back, and ends), or `ended`: it had begun. Rejects on a body of another shape. */
export async function stream (app: FastifyInstance, path = '/stream', { accept = 'text/event-stream', until = '' } = {}): Promise<string> {
  const asked = get({ host: '127.0.0.1', port: portOf(app), path, agent: false, headers: { accept, ...HEADERS } })
  asked.on('error', () => {})
  const [response] = await once(asked, 'response')
  response.setEncoding('utf8')
  let text = ''
  response.on('data', (part: string) => {
    text += part
    if (until !== '' && text.includes(until)) asked.destroy()
  })
  response.on('error', () => {})
  await new Promise((resolve) => response.once('close', resolve))
  if (response.statusCode === 200) return text.includes('realtime:open') || text.includes('data:') ? 'ended' : /^retry: \d+\n\n$/.test(text) ? 'retry' : `200 with ${JSON.stringify(text)}`
  return answered(response.statusCode, text)
}

/** In Fastify's own shape of an error. */
export function answered (status: number, text: string): string {
  const { statusCode, error, message } = JSON.parse(text) as Json
  return statusCode === status && typeof error === 'string' && typeof message === 'string' ? String(status) : `${status} with ${text}`
}

export interface Talk { send (message: unknown): void, next (): Promise<Json>, leave (): void }

/** `500`, or the code with which it was closed. */
export async function channel (app: FastifyInstance, { path = '/channel', flat = false, talk = async (_client: Talk): Promise<string | undefined> => undefined } = {}): Promise<string> {
  const ws = new WebSocket(`ws://127.0.0.1:${portOf(app)}${path}`, flat ? [] : [SUBPROTOCOL], { headers: HEADERS, perMessageDeflate: false })
  const inbox = new Inbox<Json>()
  ws.on('error', () => {})
  ws.on('message', (data) => inbox.push(JSON.parse(String(data)) as Json))
  const closed = new Promise<string>((resolve) => ws.once('close', (code) => {
    inbox.end(`closed with ${code}`)
    resolve(`closed ${code}`)
  }))
  const response = await new Promise<IncomingMessage | undefined>((resolve) => {
    ws.once('unexpected-response', (_request, response) => resolve(response))
    ws.once('open', () => resolve(undefined))
  })
  if (response) {
    let text = ''
    for await (const part of response) text += String(part)
    ws.terminate()
    return answered(response.statusCode ?? 0, text)
  }
  if (!flat) ws.send('{"op":"open"}')
  const said = await talk({ send: (message) => ws.send(message instanceof Uint8Array ? message : JSON.stringify(message)), next: () => inbox.take(), leave: () => ws.close(1000) })
  if (said === undefined) return await closed
  ws.close(1000)
  await closed
  return said
}

/** The code of the error frame that answers this message. */
export const codeOf = (...messages: unknown[]) => async (client: Talk): Promise<string> => {
  for (const message of messages) client.send(message)
  for (;;) {
    const frame = await client.next()
    if (frame.op === 'error' || frame.type === 'error') return String(frame.code)
    if (frame.op === 'reply') return 'reply'
  }
}

export const route = (app: FastifyInstance, path: '/stream' | '/channel', options: object): void => {
  if (path === '/stream') app.stream(path, options as never)
  else app.channel(path, options as never)
}

/** Each request starts a run of its own. */
let runs = 0

export const newRun = (): string => `run ${runs++}`

/** A schema of no library that this one knows: it goes to the app's own compilers. */
export class ForeignSchema {
  readonly type = 'foreign'
}

export const foreignSchema = (): object => new ForeignSchema()

export const crashes: unknown[] = []

export const crashed = (error: unknown): void => { crashes.push(error) }

/** An app with little room, so that whatever is left behind makes the next one fail. */
export async function appOf (t: Test, options: RealtimeOptions, declare: (app: FastifyInstance) => void, { lines = [], ...server }: { lines?: Json[], [option: string]: unknown } = {}): Promise<FastifyInstance> {
  const write = (line: string): void => { lines.push(JSON.parse(line) as Json) }
  const app = Fastify({ trustProxy: true, logger: { level: 'trace', stream: { write } }, ...server }) as unknown as FastifyInstance
  t.teardown(() => app.close())
  await app.register(realtime, { joinTimeout: 30, closeTimeout: 2000, retry: 0, maxConnections: 2, maxConnectionsPerAddress: 2, ...options })
  app.topic('news')
  app.stream('/probe', { topics: 'news' })
  declare(app)
  await app.listen({ port: 0, host: '127.0.0.1' })
  return app
}

/** Waits until nothing is left of any client. Hangs where something stays: then the test does not pass. */
export async function nothingLeft (app: FastifyInstance, hub: Hub): Promise<void> {
  const stays = (): boolean => {
    const { connections, subscriptions, topics } = app.realtime.stats()
    const rooms = ['news', 'board', 'room'].map((name) => hub.active.get(name))
    return connections.sse + connections.websocket + subscriptions + topics + hub.clients.size > 0 || rooms.some((room) => room && (room.holds > 0 || room.listeners > 0))
  }
  while (stays()) await turn()
}

export const ask = async (app: FastifyInstance, path: '/stream' | '/channel'): Promise<string> => path === '/stream' ? await stream(app) : await channel(app)
