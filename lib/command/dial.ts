/** One connection to a stream or a channel, for the command: what it hears, and how it ends. */
import { request as requestHttp, validateHeaderValue, type IncomingMessage } from 'node:http'
import { request as requestHttps } from 'node:https'
import { EventStreamParser } from '../testing/parser.ts'
import { WebSocket, type RawData } from 'ws'
import { word } from './output.ts'
import type { Target } from './usage.ts'

export interface Heard {
  readonly event: string
  readonly data: unknown
  readonly id?: string
  readonly prev?: string
  readonly topic?: string
}

/** Where a client has got to: of a stream one id, of a channel one for each topic. */
export interface Place {
  id: string | undefined
  readonly topics: Map<string, string>
}

/** How it ended. `back`: come back in so many ms; undefined: do not. */
export interface End {
  readonly why: string
  readonly back: number | undefined
  readonly failed: boolean
}

export interface Dialled {
  readonly ended: Promise<End>
  pause (): void
  resume (): void
  close (): void
}

/** The server's answer is final. */
export class Refused extends Error {}
/** 204: there is nothing more to hear. */
export class Over extends Error {}

type Hear = (heard: Heard) => void

/** ms, where the server says nothing. */
const RETRY_MS = 1000
const MAX_RETRY_MS = 60_000
/** An event larger than this is none. */
const MAX_EVENT = 32 << 20
const DIAL_MS = 30_000
const LEAVE_MS = 500

/** `place` is moved as events come. `signal` cuts it. @throws Refused, Over, and what the network says */
export function dial (target: Target, place: Place, hear: Hear, signal: AbortSignal): Promise<Dialled> {
  return target.ws ? dialChannel(target, place, hear, signal) : dialStream(target, place, hear, signal)
}

export function placeOf ({ lastEventId, topics: [topic] }: Target): Place {
  const place: Place = { id: lastEventId, topics: new Map() }
  if (topic !== undefined && lastEventId !== undefined) place.topics.set(topic, lastEventId)
  return place
}

function bounded (retry: unknown): number {
  return typeof retry === 'number' && retry >= 0 ? Math.min(retry, MAX_RETRY_MS) : RETRY_MS
}

// --- streams -----------------------------------------------------------------------

async function dialStream (
  { url, headers }: Target, place: Place, hear: Hear, signal: AbortSignal
): Promise<Dialled> {
  const response = await answerTo(url, signal, {
    accept: 'text/event-stream', ...lastEventId(place), ...headers
  })
  mustBeStream(response)
  return { ended: readStream(response, place, hear), ...controlsOf(response) }
}

/** As a browser sends it: the bytes of UTF-8, each a character of the header. */
function lastEventId ({ id }: Place): Record<string, string> {
  if (id === undefined) return {}
  const value = Buffer.from(id).toString('latin1')
  try {
    validateHeaderValue('last-event-id', value)
  } catch {
    throw new Refused('it cannot come back: the last id holds characters that no header may hold')
  }
  return { 'last-event-id': value }
}

function answerTo (url: URL, signal: AbortSignal, headers: Record<string, string>): Promise<IncomingMessage> {
  const send = url.protocol === 'https:' ? requestHttps : requestHttp
  return new Promise((resolve, reject) => {
    const request = send(url, { headers, signal, agent: false }, (response) => {
      clearTimeout(timer)
      resolve(response)
    })
    const timer = setTimeout(() => request.destroy(new Error(`no answer within ${DIAL_MS} ms`)), DIAL_MS)
    request.on('error', (error) => {
      clearTimeout(timer)
      reject(error)
    })
    request.end()
  })
}

function mustBeStream (response: IncomingMessage): void {
  const { statusCode = 0, headers } = response
  const type = String(headers['content-type'])
  if (statusCode === 200 && type.startsWith('text/event-stream')) return
  response.destroy()
  if (statusCode === 204) throw new Over('the server has nothing more to say (204)')
  if (statusCode >= 300 && statusCode < 400) throw new Refused(`it is elsewhere: ${String(headers.location)}`)
  if (statusCode === 200) throw new Refused(`it is no event stream, but ${type}`)
  if (statusCode >= 500 || statusCode === 429) throw new Error(`the server answers ${statusCode}`)
  throw new Refused(`the server answers ${statusCode}`)
}

function readStream (response: IncomingMessage, place: Place, hear: Hear): Promise<End> {
  let retry: number | undefined
  let waiting = 0
  const parser = new EventStreamParser((block) => {
    waiting = 0
    if (block.retry !== undefined) retry = block.retry
    if (block.id !== undefined) place.id = block.id
    if (block.data === undefined) return
    const data = parsedOr(block.data)
    hear({ event: block.event || 'message', data, ...(block.id === undefined ? {} : { id: block.id }) })
  })
  response.setEncoding('utf8')
  response.on('data', (text: string) => {
    waiting += text.length
    parser.push(text)
    if (waiting > MAX_EVENT) response.destroy()
  })
  response.on('error', () => {})
  return new Promise((resolve) => response.once('close', () => resolve({
    why: waiting > MAX_EVENT ? `an event is larger than ${MAX_EVENT} bytes` : 'the stream has ended',
    back: waiting > MAX_EVENT ? undefined : bounded(retry),
    failed: waiting > MAX_EVENT
  })))
}

function controlsOf (response: IncomingMessage): Omit<Dialled, 'ended'> {
  return {
    pause: () => { response.pause() },
    resume: () => { response.resume() },
    close: () => { response.destroy() }
  }
}

// --- channels ----------------------------------------------------------------------

type Frame = Record<string, unknown>

/** Close codes after which a client stays away (PROTOCOL.md, section 6). */
const FINAL: ReadonlySet<number> = new Set([1000, 1007, 1009, 4400, 4403, 4408, 4429])

async function dialChannel (
  target: Target, place: Place, hear: Hear, signal: AbortSignal
): Promise<Dialled> {
  const { url, headers, topics } = target
  const ws = new WebSocket(url.href.replace(/^http/, 'ws'), ['fastify-realtime.v1'], {
    headers, maxPayload: MAX_EVENT, handshakeTimeout: DIAL_MS
  })
  const ended = readChannel(ws, target, place, hear)
  leaveOn(signal, ws)
  await opened(ws)
  ws.send(JSON.stringify({ op: 'open', cursors: Object.fromEntries(place.topics) }))
  for (const topic of topics) {
    ws.send(JSON.stringify({ op: 'subscribe', topic, id: place.topics.get(topic), ref: topic }))
  }
  return { ended, pause: () => ws.pause(), resume: () => ws.resume(), close: () => leave(ws) }
}

/** The signal outlives the connection: nothing of this one stays on it. */
function leaveOn (signal: AbortSignal, ws: WebSocket): void {
  const left = (): void => leave(ws)
  signal.addEventListener('abort', left)
  ws.once('close', () => signal.removeEventListener('abort', left))
}

/** A server that does not answer the close is not waited for. */
function leave (ws: WebSocket): void {
  ws.close(1000)
  setTimeout(() => ws.terminate(), LEAVE_MS).unref()
}

function opened (ws: WebSocket): Promise<void> {
  return new Promise((resolve, reject) => {
    ws.once('open', resolve)
    ws.on('error', reject)
    ws.once('unexpected-response', (_request, response) => {
      const { statusCode = 0 } = response
      ws.terminate()
      const why = `the server answers ${statusCode}`
      reject(statusCode >= 500 || statusCode === 429 ? new Error(why) : new Refused(why))
    })
  })
}

function readChannel (ws: WebSocket, target: Target, place: Place, hear: Hear): Promise<End> {
  let bye: Frame | undefined
  ws.on('message', (data: RawData, binary: boolean) => {
    const frame = frameOf(data as Buffer, binary)
    if (frame.op === 'bye') bye = frame
    if (frame.op === 'error' && target.topics.includes(word(frame.ref))) ws.close(1000, 'refused')
    keepPlace(frame, place)
    hear(heardIn(frame))
  })
  return new Promise((resolve) => ws.once('close', (code, reason) => {
    const back = bye ? bye.reconnect === true : !FINAL.has(code)
    resolve({
      why: `the channel was closed: ${code} ${String(reason)}`.trimEnd(),
      back: back ? bounded(bye?.retry) : undefined,
      failed: code !== 1000
    })
  }))
}

function frameOf (data: Buffer, binary: boolean): Frame {
  if (!binary) return objectOf(String(data))
  const length = data.byteLength < 4 ? 0 : data.readUInt32BE(0)
  return { ...objectOf(data.subarray(4, 4 + length).toString()), data: data.subarray(4 + length).toString('base64') }
}

function objectOf (text: string): Frame {
  const value = parsedOr(text)
  return typeof value === 'object' && value !== null ? value as Frame : { event: 'message', data: value }
}

function keepPlace ({ op, topic, id }: Frame, { topics }: Place): void {
  if (typeof topic !== 'string') return
  if (typeof id === 'string') topics.set(topic, id)
  else if (op === 'snapshot') topics.delete(topic)
}

function heardIn (frame: Frame): Heard {
  const { op, event, data, topic, id, prev } = frame
  return {
    event: op === undefined ? word(event) : `realtime:${word(op)}`,
    data: op === undefined || op === 'snapshot' ? data : frame,
    ...(typeof topic === 'string' ? { topic } : {}),
    ...(typeof id === 'string' ? { id } : {}),
    ...(typeof prev === 'string' ? { prev } : {})
  }
}

export function parsedOr (text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}
