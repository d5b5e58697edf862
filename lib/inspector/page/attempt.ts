/**
 * One client that is tried: what it was sent, what it heard, and what became of it over its cuts. It speaks to the app
 * as any page does, and knows what the server says of its connection besides.
 */
import { EventStreamParser, isEventStream } from '../../client/event-stream.ts'
import type { ConnectionRow } from '../shapes.ts'
import { ask, check, MARK } from './api.ts'
import type { Opening } from './code.ts'
import { flat } from './code.ts'
import { Report } from './report.ts'

export interface Entry {
  readonly n: number
  readonly at: number
  /** `in`: an event; `frame`: the protocol's; `out`: sent; `note`: what happened to the connection. */
  readonly kind: 'in' | 'frame' | 'out' | 'note'
  readonly name: string
  readonly topic: string
  readonly id: string
  readonly data: unknown
  readonly raw: string
  /** It was published while the client was away. */
  replayed: boolean
  /** Its id was heard before: that must not be. */
  again: boolean
  /** Why it does not fit its schema; null where it does, undefined where nobody has looked. */
  fault: string | null | undefined
}

export type AttemptState = 'closed' | 'connecting' | 'open' | 'cut'

export interface Plan extends Opening {
  /** Of the topics that it hears: by these its events are checked. */
  patterns: string[]
  token: string
}

interface Heard { name: string, data: unknown, raw: string, topic?: string, id?: string, frame?: boolean }

const MAX_ENTRIES = 500
const CHECKED_AT_ONCE = 50
const MAX_BODY = 2000

export class Attempt {
  readonly plan: Plan
  readonly entries: Entry[] = []
  readonly report = new Report()
  state: AttemptState = 'closed'
  /** The connection, as the server sees it; undefined until that is known. */
  here: ConnectionRow | undefined
  stalled = false
  /** Where it is, by topic; a stream has one cursor, whose name is `''`. */
  readonly cursors = new Map<string, string>()
  readonly #changed: () => void
  readonly #unchecked: Entry[] = []
  #checking = false
  #n = 0
  #mark = ''
  #socket: WebSocket | undefined
  #abort: AbortController | undefined

  constructor (plan: Plan, changed: () => void) {
    this.plan = plan
    this.#changed = changed
  }

  /** `resume`: from where it was. */
  async open (resume = false): Promise<void> {
    this.leave()
    this.state = 'connecting'
    this.here = undefined
    this.stalled = false
    this.#mark = crypto.randomUUID()
    if (resume) await this.#lookBack()
    else this.#forget()
    if (this.plan.kind === 'stream') await this.#openStream()
    else this.#openSocket()
    this.#changed()
  }

  /** By itself, as a page that is closed. */
  leave (): void {
    if (this.state === 'closed') return
    this.state = 'closed'
    this.#abort?.abort()
    this.#socket?.close(1000)
    this.#abort = this.#socket = undefined
    this.#changed()
  }

  send (event: string, data: unknown): void {
    const { format } = this.plan
    this.#say(format === 'flat' ? flat({ event, data }) : { event, data, ref: this.#n + 1 }, event)
  }

  join (topic: string): void {
    this.#say({ op: 'subscribe', topic, ref: topic }, 'subscribe')
    if (!this.plan.join.includes(topic)) this.plan.join.push(topic)
  }

  /** What the page has had done to it. */
  note (name: string, data: unknown = ''): void {
    this.#add({ name, data, raw: '' }, 'note')
  }

  // --- where it is --------------------------------------------------------------------------

  #forget (): void {
    this.cursors.clear()
    this.report.forget()
    this.plan.join.length = 0
  }

  /** What was published behind each cursor, before it comes back: that is what is to be replayed. */
  async #lookBack (): Promise<void> {
    const places = this.#places()
    this.report.begin()
    for (const { topic, id } of places) {
      try {
        const { events, linked, newer } = await ask('history', { topic, after: id })
        if (newer) this.report.unknown = true
        if (linked) this.report.expect(events.map((event) => event.id))
      } catch {
        this.report.unknown = true
      }
    }
    // One cursor for several topics names none of their events.
    if (places.length === 0 && this.cursors.size > 0) this.report.unknown = true
  }

  #places (): Array<{ topic: string, id: string }> {
    if (this.plan.kind === 'channel') return [...this.cursors].map(([topic, id]) => ({ topic, id }))
    const topics = this.#topics
    const [id] = this.cursors.values()
    return topics.length === 1 && id !== undefined ? [{ topic: topics[0] as string, id }] : []
  }

  /** Those of the connection that it last had. */
  #topics: string[] = []

  /** The server's own view of it: by the mark that its request bears. */
  async #locate (): Promise<void> {
    const mark = this.#mark
    const { rows: [row] } = await ask('connections', { mark })
    if (row === undefined || mark !== this.#mark) return
    this.here = row
    if (row.topics.length > 0) this.#topics = row.topics
    this.#changed()
  }

  // --- a stream -----------------------------------------------------------------------------

  async #openStream (): Promise<void> {
    const { method, url, headers, body } = this.plan
    const abort = this.#abort = new AbortController()
    const cursor = this.cursors.get('')
    try {
      const response = await fetch(url, {
        method,
        signal: abort.signal,
        cache: 'no-store',
        headers: {
          accept: 'text/event-stream',
          ...headers,
          ...body !== undefined && { 'content-type': 'application/json' },
          ...cursor !== undefined && { 'last-event-id': String.fromCharCode(...new TextEncoder().encode(cursor)) },
          [MARK]: this.#mark
        },
        ...body !== undefined && { body: JSON.stringify(body) }
      })
      await this.#answered(response, abort)
    } catch (error) {
      if (!abort.signal.aborted) this.#cut('refused', String(error))
    }
  }

  async #answered (response: Response, abort: AbortController): Promise<void> {
    if (!isEventStream(response)) {
      return this.#cut(`answered ${response.status}`, (await response.text()).slice(0, MAX_BODY))
    }
    this.#opened(`open: ${response.status}`)
    this.#read(response, abort).catch(() => {})
  }

  async #read (response: Response, abort: AbortController): Promise<void> {
    const parser = new EventStreamParser(({ event, data, id, retry }) => {
      if (id !== undefined && id !== '') this.cursors.set('', id)
      if (retry !== undefined) this.#frame(`retry: ${retry} ms`, '', `retry: ${retry}`)
      if (data === '') return
      const raw = rawBlock(event, data, id)
      const frame = event.startsWith('realtime:')
      this.#hear({ name: event, data: parsed(data), raw, frame, ...id !== undefined && { id } })
    })
    const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader()
    try {
      for (let part = await reader?.read(); part && !part.done; part = await reader?.read()) parser.push(part.value)
      if (!abort.signal.aborted) this.#cut('ended by the server', '')
    } catch (error) {
      if (!abort.signal.aborted) this.#cut('cut', String(error))
    }
  }

  // --- a channel ----------------------------------------------------------------------------

  #openSocket (): void {
    const { url, format, token } = this.plan
    const target = new URL(url)
    target.protocol = target.protocol.replace('http', 'ws')
    // A page can send no header with it, but cookies.
    const cookie = `${MARK}=${this.#mark}; path=${target.pathname}; samesite=strict`
    document.cookie = `${cookie}; max-age=30`
    const socket = this.#socket = new WebSocket(target, format === 'envelope' ? ['fastify-realtime.v1'] : [])
    socket.binaryType = 'arraybuffer'
    const mine = (run: () => void) => (): void => { if (this.#socket === socket) run() }
    socket.onopen = mine(() => {
      document.cookie = `${cookie}; max-age=0`
      this.#opened('open: 101')
      const cursors = Object.fromEntries(this.cursors)
      if (format === 'envelope') this.#say({ op: 'open', cursors, ...token !== '' && { token } }, 'open')
      for (const topic of this.plan.join) {
        this.#say({ op: 'subscribe', topic, ref: topic, id: this.cursors.get(topic) }, 'subscribe')
      }
    })
    socket.onmessage = ({ data }) => { if (this.#socket === socket) this.#message(data as string | ArrayBuffer) }
    socket.onclose = ({ code, reason }) => mine(() => {
      const opened = this.state === 'open'
      this.#cut(opened ? `closed: ${code} ${reason}` : 'refused',
        opened ? '' : 'A browser does not say why. "Copy as curl" shows the answer.')
    })()
  }

  #say (frame: object, name: string): void {
    if (this.#socket?.readyState !== WebSocket.OPEN) throw new Error('It is not open.')
    const raw = JSON.stringify(frame)
    this.#socket.send(raw)
    this.#add({ name, data: frame, raw }, 'out')
  }

  #message (data: string | ArrayBuffer): void {
    if (typeof data !== 'string') return this.#hear({ name: 'bytes', data: { bytes: data.byteLength }, raw: '' })
    const frame = parsed(data) as Record<string, unknown>
    if (this.plan.format === 'flat') {
      const { type, ...rest } = frame
      return this.#hear({ name: String(type), data: rest, raw: data })
    }
    this.#place(frame)
    const { op, event, topic, id } = frame
    this.#hear({
      name: String(op ?? event),
      data: op === undefined ? frame.data : frame,
      raw: data,
      frame: op !== undefined,
      ...typeof topic === 'string' && { topic },
      ...typeof id === 'string' && { id }
    })
  }

  #place ({ op, topic, id }: Record<string, unknown>): void {
    if (typeof topic !== 'string') return
    if (typeof id === 'string') this.cursors.set(topic, id)
    else if (op === 'snapshot' || op === 'unsubscribed') this.cursors.delete(topic)
  }

  // --- what it hears ------------------------------------------------------------------------

  #opened (how: string): void {
    this.state = 'open'
    this.note(how, this.report.resuming ? 'with the last place it had' : '')
    this.#locate().catch(() => {})
  }

  #cut (how: string, why: string): void {
    this.state = 'cut'
    this.here = undefined
    this.stalled = false
    this.#abort = this.#socket = undefined
    this.note(how, why)
  }

  #frame (name: string, data: unknown, raw: string): void {
    this.#add({ name, data, raw }, 'frame')
  }

  #hear (heard: Heard): void {
    if (heard.frame) this.#hearFrame(heard)
    const entry = this.#add(heard, heard.frame ? 'frame' : 'in')
    if (heard.frame || this.plan.patterns.length === 0 || heard.name === 'bytes') return
    this.#unchecked.push(entry)
    this.#checkSoon()
  }

  #hearFrame ({ name, data }: Heard): void {
    const { reason, topic, recovered } = (data ?? {}) as Record<string, unknown>
    if (name === 'reset' || name === 'realtime:reset') this.report.reset(String(topic), String(reason))
    if (name === 'subscribed' && recovered !== undefined) this.report.told(recovered === true)
    if (name === 'subscribed' || name === 'open') this.#locate().catch(() => {})
  }

  #add ({ name, data, raw, topic = '', id = '' }: Heard, kind: Entry['kind']): Entry {
    const seen = kind === 'in' && id !== '' ? this.report.see(id) : { replayed: false, again: false }
    const entry: Entry = { n: ++this.#n, at: Date.now(), kind, name, topic, id, data, raw, ...seen, fault: undefined }
    this.entries.push(entry)
    if (this.entries.length > MAX_ENTRIES) this.entries.shift()
    this.#changed()
    return entry
  }

  /** One question at a time, with all that came meanwhile. */
  #checkSoon (): void {
    if (this.#checking) return
    this.#checking = true
    this.#checkAll().catch(() => {}).finally(() => { this.#checking = false })
  }

  async #checkAll (): Promise<void> {
    while (this.#unchecked.length > 0) {
      const some = this.#unchecked.splice(0, CHECKED_AT_ONCE)
      const { patterns } = this.plan
      const faults = await check(some.map(({ topic, name, data }) =>
        ({ patterns: topic === '' ? patterns : [topic], event: name, data })))
      some.forEach((entry, at) => { entry.fault = faults[at] ?? null })
      this.#changed()
    }
  }
}

function parsed (text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}

function rawBlock (event: string, data: string, id: string | undefined): string {
  const lines = data.split('\n').map((line) => `data: ${line}`)
  return [...id === undefined ? [] : [`id: ${id}`], `event: ${event}`, ...lines].join('\n')
}
