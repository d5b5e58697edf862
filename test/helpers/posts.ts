/** A client of a channel over HTTP, written from PROTOCOL.md: it shares no code with the library. */
import { once } from 'node:events'
import { request, type IncomingMessage } from 'node:http'
import type { FastifyInstance } from 'fastify'
import { Inbox, portOf, Stream, type Ends, type Json } from '../conformance/clients.ts'

export interface Posted { status: number, headers: IncomingMessage['headers'], body: unknown }

type Headers = Record<string, string>

async function send (t: Ends, app: FastifyInstance, path: string, body: unknown, headers: Headers): Promise<IncomingMessage> {
  const asked = request({ host: '127.0.0.1', port: portOf(app), path, method: 'POST', agent: false, headers: { 'content-type': 'application/json', ...headers } })
  t.teardown(() => asked.destroy())
  asked.end(typeof body === 'string' || body instanceof Uint8Array ? body : JSON.stringify(body))
  const [response] = await once(asked, 'response') as [IncomingMessage]
  asked.on('error', () => {})
  return response
}

/** A request, and its whole answer. */
export async function post (t: Ends, app: FastifyInstance, path: string, body: unknown, headers: Headers = {}): Promise<Posted> {
  const response = await send(t, app, path, body, headers)
  response.setEncoding('utf8')
  let text = ''
  for await (const part of response) text += part as string
  return { status: response.statusCode ?? 0, headers: response.headers, body: text === '' ? undefined : JSON.parse(text) }
}

/** A stream of frames. */
export class Frames {
  readonly stream: Stream
  readonly inbox = new Inbox<Json>()

  constructor (response: IncomingMessage, hear: (frame: Json) => void) {
    this.stream = new Stream(response)
    this.stream.reader.onEvent = ({ data }) => {
      const frame = JSON.parse(data) as Json
      hear(frame)
      this.inbox.push(frame)
    }
    this.stream.ended.then(() => this.inbox.end('the stream ended')).catch(() => {})
  }

  next (members: Json = {}): Promise<Json> {
    const wanted = Object.entries(members)
    return this.inbox.take((frame) => wanted.every(([key, value]) => frame[key] === value), JSON.stringify(members))
  }
}

export interface OpenFrame { cursors?: Record<string, string>, token?: string, topics?: unknown }

/** One that is open, and has been told so. */
export async function openFrames (t: Ends, app: FastifyInstance, path: string, open: OpenFrame = {}, headers: Headers = {}, hear: (frame: Json) => void = () => {}): Promise<Frames & { id: string }> {
  const response = await send(t, app, path, { op: 'open', ...open }, { accept: 'text/event-stream', ...headers })
  if (response.statusCode !== 200) throw Object.assign(new Error(`answered ${response.statusCode}`), { statusCode: response.statusCode })
  const frames = new Frames(response, hear)
  const { connection } = await frames.next({ op: 'open' })
  return Object.assign(frames, { id: connection as string })
}
