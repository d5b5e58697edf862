/** A test client of an SSE stream. */
import type { Socket } from 'node:net'
import { request as httpRequest, type ClientRequest, type IncomingHttpHeaders, type IncomingMessage } from 'node:http'
import type { FastifyInstance } from 'fastify'
import { onlyKnown, record } from '../known.ts'
import { Inbox, NEXT_TIMEOUT, parsed, type Received } from './inbox.ts'
import { endWithTest, type TestContext } from './lifetime.ts'
import { linkTo, type Link } from './link.ts'
import { EventStreamParser } from './parser.ts'

/** Options of `connectStream()`. An unknown one is FST_ERR_REALTIME_OPTION_INVALID. */
export interface ConnectStreamOptions {
  /** Default `'GET'`. */
  method?: 'GET' | 'POST'
  /** Headers of the request. Default: none. */
  headers?: Record<string, string>
  /** A body for `POST`, sent as JSON. */
  body?: unknown
  /** The id to resume from, sent as `Last-Event-ID`. */
  lastEventId?: string
  /** How long `next()` waits, ms. Default 2000, which is less than a test runner waits for the test. */
  timeout?: number
  /** A test context (`t` of tap or node:test). The client closes when the test ends. */
  t?: TestContext
}

const KNOWN: ReadonlySet<string> = new Set([
  'method', 'headers', 'body', 'lastEventId', 'timeout', 't'
] satisfies Array<keyof ConnectStreamOptions>)

/** Thrown if the response is not an event stream. */
export class StreamRefused extends Error {
  /** The status of the response. */
  readonly statusCode: number
  readonly headers: IncomingHttpHeaders
  /** Its body: the parsed JSON, or the text if it is not JSON. */
  readonly body: unknown
  constructor (statusCode: number, headers: IncomingHttpHeaders, body: string) {
    super(`the stream was refused with ${statusCode}: ${body.slice(0, 200)}`)
    this.statusCode = statusCode
    this.headers = headers
    this.body = parsed(body)
  }
}

/** A test client of one stream. `connectStream()` makes it. */
export class StreamClient {
  readonly #link: Link
  readonly #url: string
  readonly #options: ConnectStreamOptions
  readonly #inbox: Inbox
  #request: ClientRequest | undefined
  #ended: Promise<void> = Promise.resolve()
  /** The status of the last response. */
  statusCode = 0
  /** The headers of the last response. */
  headers: IncomingHttpHeaders = {}
  /** The last id received. `resume()` sends it. */
  lastEventId: string | undefined
  /** The reconnection time that the server has sent, ms. */
  retry: number | undefined

  constructor (link: Link, url: string, options: ConnectStreamOptions) {
    this.#link = link
    this.#url = url
    this.#options = options
    this.#inbox = new Inbox(options.timeout ?? NEXT_TIMEOUT)
    this.lastEventId = options.lastEventId
    endWithTest(options.t, () => this.close())
  }

  /** Everything received so far, on all connections. */
  get events (): readonly Received[] { return this.#inbox.events }
  /** Resolves when the connection has ended, on either side. */
  get ended (): Promise<void> { return this.#ended }

  /**
   * Resolves with the next event of this name that no `next()` has returned yet. Without a name: with the next event
   * that is not the protocol's own.
   * @throws Error after `timeout`, or if the stream has ended. It says what was received
   */
  next (event?: string): Promise<Received> {
    return this.#inbox.take(event)
  }

  /** Cuts the connection, as a network does. */
  async drop (): Promise<void> {
    this.#request?.destroy()
    await this.#ended
  }

  /** Cuts the connection, connects again and resumes from the last id. */
  async resume (): Promise<void> {
    await this.drop()
    await this.open()
  }

  /** Cuts the connection. Resolves when it has ended. */
  async close (): Promise<void> {
    await this.drop()
  }

  async [Symbol.asyncDispose] (): Promise<void> {
    await this.close()
  }

  /** Connects. `connectStream()` has called it. @throws StreamRefused */
  async open (): Promise<void> {
    const response = await this.#send()
    if (!isStream(response)) throw new StreamRefused(this.statusCode, response.headers, await textOf(response))
  }

  /** Runs in the same step as the head: an event may come with it, and a cut right after it. */
  #answered (response: IncomingMessage): void {
    this.statusCode = response.statusCode ?? 0
    this.headers = response.headers
    if (!isStream(response)) return
    this.#inbox.reopen()
    this.#ended = this.#read(response)
  }

  #send (): Promise<IncomingMessage> {
    const { method = 'GET', headers, body } = this.#options
    const payload = body === undefined ? undefined : JSON.stringify(body)
    return new Promise((resolve, reject) => {
      this.#request = httpRequest({
        method,
        path: this.#url,
        createConnection: () => this.#link.open() as Socket,
        headers: {
          host: this.#link.host,
          accept: 'text/event-stream',
          ...(payload === undefined
            ? {}
            : {
                'content-type': 'application/json',
                'content-length': Buffer.byteLength(payload)
              }),
          ...(this.lastEventId === undefined ? {} : { 'last-event-id': utf8(this.lastEventId) }),
          ...headers
        }
      }, (response) => {
        this.#answered(response)
        resolve(response)
      })
      this.#request.on('error', reject)
      this.#request.end(payload)
    })
  }

  #read (response: IncomingMessage): Promise<void> {
    const parser = new EventStreamParser((block) => {
      if (block.retry !== undefined) this.retry = block.retry
      if (block.id !== undefined) this.lastEventId = block.id
      if (block.data === undefined) return
      const id = this.lastEventId
      this.#inbox.put({
        event: block.event ?? 'message',
        data: parsed(block.data),
        ...(id === undefined ? {} : { id })
      })
    })
    response.setEncoding('utf8')
    response.on('data', (text: string) => parser.push(text))
    response.on('error', () => {})
    return new Promise((resolve) => response.once('close', () => {
      this.#inbox.end('the stream has ended')
      resolve()
    }))
  }
}

/** As a browser sends an id: each byte of its UTF-8 is a character of the header. */
function utf8 (id: string): string {
  return Buffer.from(id).toString('latin1')
}

function isStream ({ statusCode, headers }: IncomingMessage): boolean {
  return statusCode === 200 && String(headers['content-type']).startsWith('text/event-stream')
}

async function textOf (response: IncomingMessage): Promise<string> {
  response.setEncoding('utf8')
  let text = ''
  for await (const part of response) text += part as string
  return text
}

/**
 * Connects to an SSE stream: over a real socket if the app listens, otherwise in memory.
 * @throws StreamRefused, FST_ERR_REALTIME_OPTION_INVALID
 */
export async function connectStream (
  app: FastifyInstance, url: string, options: ConnectStreamOptions = {}
): Promise<StreamClient> {
  record('connectStream()', options)
  onlyKnown('connectStream()', options, KNOWN)
  const client = new StreamClient(await linkTo(app), url, options)
  await client.open()
  return client
}
