import { once } from 'node:events'
import { connect, type AddressInfo } from 'node:net'
import Fastify, { type FastifyInstance } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import { WebSocket } from 'ws'
import realtime from '../../lib/index.ts'

const SEED = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 31))

/** mulberry32 */
function random (seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let value = Math.imul(state ^ (state >>> 15), 1 | state)
    value = (value + Math.imul(value ^ (value >>> 7), 61 | value)) ^ value
    return ((value ^ (value >>> 14)) >>> 0) / 2 ** 32
  }
}

const ERROR_CODES = new Set(['INVALID_JSON', 'INVALID_FRAME', 'UNKNOWN_MESSAGE', 'INVALID_DATA', 'BINARY_UNSUPPORTED', 'RATE_LIMITED',
  'FORBIDDEN', 'UNKNOWN_TOPIC', 'TOO_MANY_TOPICS'])
const CLOSE_CODES = new Set([1000, 1002, 1003, 1006, 1007, 1009, 1011, 4400, 4403, 4408, 4429])

class Fuzzer {
  readonly #random: () => number
  constructor (seed: number) { this.#random = random(seed) }

  below (n: number): number { return Math.floor(this.#random() * n) }
  pick<T> (list: readonly T[]): T { return list[this.below(list.length)] as T }
  bytes (length: number): Buffer { return Buffer.from(Array.from({ length }, () => this.below(256))) }

  /** Something that JSON.stringify takes, of any shape. */
  value (depth = 0): unknown {
    switch (this.below(depth > 3 ? 7 : 9)) {
      case 0: return null
      case 1: return this.pick([true, false])
      case 2: return this.pick([0, -0, 1e308, -1e308, 5e-324, 2 ** 53, NaN, Infinity])
      case 3: return this.text()
      case 4: return this.pick(['__proto__', 'constructor', 'toString', 'hasOwnProperty', ''])
      case 5: return '\u0000\r\n\u2028\ud83d\ude00'
      case 6: return []
      case 7: return Array.from({ length: this.below(5) }, () => this.value(depth + 1))
      default: return Object.fromEntries(Array.from({ length: this.below(5) }, () => [this.text(), this.value(depth + 1)]))
    }
  }

  text (): string { return this.bytes(this.below(20)).toString(this.pick(['latin1', 'utf8', 'base64'])) }

  json (): string {
    const name = this.pick(['bid', 'relay', 'nope', '__proto__', 'constructor', this.text(), 5, null, {}])
    const data = this.value()
    switch (this.below(12)) {
      case 0: return this.text()
      case 1: return '['.repeat(this.below(30_000))
      case 2: return '{"a":'.repeat(this.below(8000)) + '1' + '}'.repeat(this.below(8000))
      case 3: return '{"type":"bid","__proto__":{"admin":true},"amount":1}'
      case 4: return '{"event":"bid","data":{"constructor":{"prototype":{"x":1}}}}'
      case 5: return `{"type":"bid","event":"bid","data":{"amount":1e${this.below(1000)}},"amount":${'9'.repeat(this.below(400))}}`
      case 6: return JSON.stringify({ op: this.pick(['open', 'subscribe', 'unsubscribe', 'refresh', 'ping', '', 7, null]), topic: this.value(), cursors: this.value(), id: this.value(), ref: this.value() })
      case 7: return JSON.stringify({ op: 'subscribe', topic: this.pick(['rooms/', 'rooms/..', 'rooms/%', 'rooms/%00', 'rooms/a/b', `rooms/${'x'.repeat(400)}`, '../x', 'rooms/a?b', 'rooms/%2F']) })
      case 8: return JSON.stringify(data)
      default: return JSON.stringify({ type: name, event: name, data, ref: this.value(), ...(typeof data === 'object' ? data : {}) })
    }
  }
}

async function hostileApp (t: Test): Promise<{ app: FastifyInstance, port: number, faults: string[] }> {
  const faults: string[] = []
  const note = (error: unknown): void => { faults.push(String((error as Error)?.stack ?? error)) }
  process.on('uncaughtExceptionMonitor', note)
  process.on('unhandledRejection', note)
  const app = Fastify({ routerOptions: { maxParamLength: 20_000 } })
  t.teardown(async () => {
    await app.close()
    process.off('uncaughtExceptionMonitor', note)
    process.off('unhandledRejection', note)
  })
  const limits = { burst: 1e6, messagesPerSecond: 1e6, faults: 1e6 }
  await app.register(realtime, { limits })
  const rooms = app.topic('rooms/:id', { authorize: () => true })
  app.stream('/rooms/:id', { topics: rooms })
  app.channel('/ws/:id', {
    topics: rooms,
    subscribe: rooms,
    messages: {
      bid: { schema: { type: 'object', required: ['amount'], properties: { amount: { type: 'number', exclusiveMinimum: 0 } } }, handler: () => ({ type: 'taken' }) },
      relay: { schema: { type: 'object', additionalProperties: { type: 'string', maxLength: 3 } }, relay: true },
      sentinel: { handler: () => ({ type: 'sentinel' }) }
    }
  })
  await app.listen({ port: 0, host: '127.0.0.1' })
  return { app, port: (app.server.address() as AddressInfo).port, faults }
}

/** Resolves with the close code, or with undefined when the sentinel was answered. */
async function answered (ws: WebSocket, envelope: boolean, unlisted: string[]): Promise<number | undefined> {
  return await new Promise((resolve) => {
    const onClose = (code: number): void => done(code)
    const onMessage = (data: Buffer, binary: boolean): void => {
      if (binary) return
      const frame = JSON.parse(String(data)) as Record<string, unknown>
      const error = frame.op === 'error' || frame.type === 'error'
      if (error && !ERROR_CODES.has(String(frame.code))) unlisted.push(String(data))
      if (envelope ? frame.op === 'pong' && ++pongs === 1 : frame.type === 'sentinel') done(undefined)
    }
    let pongs = 0
    const done = (code: number | undefined): void => {
      ws.off('close', onClose)
      ws.off('message', onMessage)
      resolve(code)
    }
    ws.on('close', onClose)
    ws.on('message', onMessage)
    ws.send(envelope ? '{"op":"ping"}' : '{"type":"sentinel"}')
  })
}

async function open (port: number, envelope: boolean): Promise<WebSocket> {
  const ws = new WebSocket(`ws://127.0.0.1:${port}/ws/1`, envelope ? ['fastify-realtime.v1'] : [])
  ws.on('error', () => {})
  await once(ws, 'open')
  return ws
}

/** One raw exchange: what the server said until it closed. */
async function exchange (port: number, request: Buffer | string): Promise<string> {
  const socket = connect(port, '127.0.0.1')
  let answer = ''
  socket.setEncoding('latin1')
  socket.on('data', (text: string) => { answer += text })
  socket.on('error', () => {})
  socket.end(request)
  await once(socket, 'close')
  return answer
}

for (const envelope of [false, true]) {
  t.test(`three thousand malformed messages of a ${envelope ? 'v1' : 'flat'} client are each answered or closed with a listed code (seed ${SEED})`, async (t) => {
    const { port, faults } = await hostileApp(t)
    const fuzz = new Fuzzer(SEED + Number(envelope))
    const unlisted: string[] = []
    const codes: number[] = []
    let ws = await open(port, envelope)
    for (let i = 0; i < 3000; i++) {
      if (fuzz.below(20) === 0) ws.send(fuzz.bytes(fuzz.below(300)))
      else ws.send(fuzz.json())
      const code = await answered(ws, envelope, unlisted)
      if (code === undefined) continue
      codes.push(code)
      ws = await open(port, envelope)
    }
    ws.close()
    await once(ws, 'close')
    t.same(unlisted, [])
    t.same(codes.filter((code) => !CLOSE_CODES.has(code)), [])
    t.same(faults, [])
    t.equal((Object.prototype as Record<string, unknown>).admin, undefined)
  })
}

t.test(`a thousand broken frames close their connection with a listed code, and nothing else (seed ${SEED})`, async (t) => {
  const { app, port, faults } = await hostileApp(t)
  const fuzz = new Fuzzer(SEED + 2)
  const head = 'GET /ws/1 HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n'
  const unlisted: number[] = []
  for (let i = 0; i < 1000; i++) {
    const answer = await exchange(port, Buffer.concat([Buffer.from(head), fuzz.bytes(1 + fuzz.below(200))]))
    if (!answer.startsWith('HTTP/1.1 101')) t.fail(answer.slice(0, 100))
    const frames = Buffer.from(answer.slice(answer.indexOf('\r\n\r\n') + 4), 'latin1')
    const close = frames.lastIndexOf(0x88)
    if (close !== -1 && frames.length >= close + 4) unlisted.push(frames.readUInt16BE(close + 2))
  }
  t.ok(unlisted.length > 100, 'most were told why')
  t.same(unlisted.filter((code) => !CLOSE_CODES.has(code)), [])
  t.same(faults, [])
  while (app.realtime.connections().length > 0) await new Promise((resolve) => setImmediate(resolve))
  t.same(app.realtime.stats().subscriptions, 0)
})

t.test(`three thousand hostile requests are each answered (seed ${SEED})`, async (t) => {
  const { app, port, faults } = await hostileApp(t)
  const fuzz = new Fuzzer(SEED + 3)
  const statuses = new Map<string, number>()
  const path = (): string => fuzz.pick(['/rooms/', '/ws/']) + fuzz.pick([
    '%2F', '%00', '..', '%2E%2E%2F', '?', '%', '%zz', '%E0%A4%A', 'a'.repeat(10_000), '%F0%9F%98%80', '1?lastEventId=' + encodeURIComponent(fuzz.text()),
    '1?lastEventId=v1~' + fuzz.bytes(30).toString('base64url'), '1?lastEventId=' + 'x'.repeat(5000), '1?a[b]=c&__proto__=1', encodeURIComponent(fuzz.text().toWellFormed())
  ])
  const header = (): string => fuzz.pick([
    'last-event-id: ' + fuzz.bytes(20).toString('base64'), 'last-event-id: v1~+~', 'last-event-id: 9999999999999999-9.x', 'accept: ;;;,,,q=', 'accept: text/event-stream;q=0',
    'accept: ' + 'a/b,'.repeat(500), 'content-length: -1', 'upgrade: h2c\r\nconnection: upgrade', 'connection: upgrade\r\nupgrade: websocket',
    'connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 8\r\nsec-websocket-key: x', 'sec-websocket-protocol: ,,,', 'origin: null', 'expect: 100-continue',
    'connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-protocol: nope',
    'connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\norigin: https://evil.example'
  ])
  for (let i = 0; i < 3000; i++) {
    const method = fuzz.pick(['GET', 'GET', 'GET', 'HEAD', 'POST', 'DELETE', 'OPTIONS'])
    // The client closes its side, so that streams which do start come to their end.
    const answer = await exchange(port, `${method} ${path()} HTTP/1.1\r\nhost: x\r\n${header()}\r\n\r\n`)
    const status = /^HTTP\/1\.1 (\d{3})/.exec(answer)?.[1] ?? (answer === '' ? 'closed' : answer.slice(0, 40))
    statuses.set(status, (statuses.get(status) ?? 0) + 1)
  }
  t.same([...statuses.keys()].filter((status) => !/^([1234]\d\d|closed)$/.test(status)), [], 'nothing was the server\'s fault')
  t.ok((statuses.get('200') ?? 0) > 100 && (statuses.get('400') ?? 0) > 100 && (statuses.get('403') ?? 0) > 10, JSON.stringify([...statuses]))
  t.same(faults, [])
  while (app.realtime.connections().length > 0) await new Promise((resolve) => setImmediate(resolve))
  t.equal(app.realtime.stats().topics, 0)
})
