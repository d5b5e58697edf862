/**
 * One client that is tried: what it was sent, what it heard, and what became of it over its cuts. It speaks to the app
 * as any page does, and knows what the server says of its connection besides.
 */
import type { ConnectionRow } from '../shapes.ts'
import { ask, check } from './api.ts'
import { NotOpen, type Carrier, type CarrierHost, type Heard, type Plan } from './carrier.ts'
import { HttpCarrier } from './carrier-http.ts'
import { SocketCarrier } from './carrier-socket.ts'
import { StreamCarrier } from './carrier-stream.ts'
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

const MAX_ENTRIES = 500
const CHECKED_AT_ONCE = 50
const LOOKS = 20
const LOOK_MS = 500

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
  #carrier: Carrier | undefined
  /** What another carrier tells is nothing of this client any more. */
  #host: CarrierHost | undefined

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
    this.#changed()
    if (resume) await this.#lookBack()
    else this.#forget()
    // Somebody may have removed it meanwhile.
    if (this.state === 'connecting' && !this.#carrier) this.#carrier = this.#carry()
  }

  /** By itself, as a page that is closed. */
  leave (): void {
    if (this.state === 'closed') return
    this.state = 'closed'
    this.#host = undefined
    this.#carrier?.close()
    this.#carrier = undefined
    this.#changed()
  }

  /** @throws Error where it is not open */
  send (event: string, data: unknown): void {
    if (!this.#carrier) throw new NotOpen()
    this.#carrier.send(event, data)
  }

  /** @throws Error where it is not open */
  join (topic: string): void {
    const { join } = this.plan
    if (!this.#carrier) throw new NotOpen()
    if (!join.includes(topic)) join.push(topic)
    try {
      this.#carrier.join(topic)
    } catch (error) {
      this.#refused(topic)
      throw error
    }
  }

  /** What the page has had done to it. */
  note (name: string, data: unknown = ''): void {
    this.#add({ name, data, raw: '' }, 'note')
  }

  #carry (): Carrier {
    const { kind, wire } = this.plan
    const host = this.#host = this.#makeHost()
    if (kind === 'stream') return new StreamCarrier(host)
    return wire === 'http' ? new HttpCarrier(host) : new SocketCarrier(host)
  }

  #makeHost (): CarrierHost {
    const now = <A extends unknown[]>(run: (...args: A) => void) => (...args: A): void => {
      if (this.#host === host) run(...args)
    }
    const host: CarrierHost = {
      plan: this.plan,
      cursors: this.cursors,
      mark: () => (this.#mark = crypto.randomUUID()),
      opened: now((how) => this.#opened(how)),
      cut: now((how, why) => this.#cut(how, why)),
      heard: now((heard) => this.#hear(heard)),
      said: now((name, data, raw) => { this.#add({ name, data, raw }, 'out') })
    }
    return host
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
        const { events, linked, read, newer } = await ask('history', { topic, after: id })
        if (newer || read > events.length) this.report.unknown = true
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

  /**
   * The server's own view of it, by the mark that its request bears. Asked again: the page may be cut off itself.
   */
  async #locate (): Promise<void> {
    const mark = this.#mark
    for (let looks = 0; looks < LOOKS; looks++) {
      const row = await rowOf(mark)
      if (mark !== this.#mark || this.state !== 'open') return
      if (row) return this.#located(row)
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS))
    }
  }

  #located (row: ConnectionRow): void {
    this.here = row
    if (row.topics.length > 0) this.#topics = row.topics
    this.#changed()
  }

  // --- what it hears ------------------------------------------------------------------------

  #opened (how: string): void {
    this.state = 'open'
    // Over HTTP another connection may have taken the place of the one that was known.
    this.here = undefined
    this.stalled = false
    this.note(how, this.report.resuming ? 'from the last event that it had' : '')
    this.#locate().catch(() => {})
  }

  #cut (how: string, why: string): void {
    this.state = 'cut'
    this.here = undefined
    this.stalled = false
    this.#carrier = undefined
    this.note(how, why)
  }

  #hear (heard: Heard): void {
    if (heard.frame) this.#hearFrame(heard)
    const entry = this.#add(heard, heard.frame ? 'frame' : 'in')
    if (heard.frame || this.plan.patterns.length === 0 || heard.bytes) return
    this.#unchecked.push(entry)
    this.#checkSoon()
  }

  #hearFrame ({ name, data }: Heard): void {
    const { reason, topic, ref, recovered } = (data ?? {}) as Record<string, unknown>
    if (name === 'reset' || name === 'realtime:reset') this.report.reset(String(topic), String(reason))
    if (name === 'subscribed' && recovered !== undefined) this.report.told(recovered === true)
    if (name === 'subscribed' || name === 'open') this.#locate().catch(() => {})
    if (name === 'error') this.#refused(String(topic ?? ref))
  }

  /** A topic that it may not join is not asked for again when it comes back. */
  #refused (topic: string): void {
    const { join } = this.plan
    if (join.includes(topic)) join.splice(join.indexOf(topic), 1)
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

/** Undefined where the server does not know it, or cannot be asked. */
async function rowOf (mark: string): Promise<ConnectionRow | undefined> {
  try {
    const { rows: [row] } = await ask('connections', { mark })
    return row
  } catch {
    return undefined
  }
}
