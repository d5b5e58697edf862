/** The part of the leading tab: the one connection, and all tabs that share it. */
import type { ClientFrame, ServerFrame } from '../protocol.ts'
import { catchUp } from './catch-up.ts'
import type { TopicFrame } from './recent.ts'
import { SharedTopic, type SharedTopicHost } from './shared-topic.ts'
import type { Dial, Wire } from './wire.ts'

/** The name of the topic of a topic's members is this prefix and the topic's name. */
const PRESENCE = 'realtime:presence/'

export interface HubHost {
  /** How many frames are kept of each topic. */
  readonly recent: number
  /** How long a tab waits in silence before it asks whether the leader is there, ms. */
  readonly heartbeat: number
  readonly dial: Dial
  /** Passes a frame to this tab's own session. */
  tellOwn (frame: ServerFrame): void
  tell (tabs: readonly string[], frame: ServerFrame): void
  /** Ends the connection of one tab. */
  drop (tab: string): void
  /** Ends the connections of all tabs. */
  down (code: number): void
}

type Op<Name extends string> = Extract<ServerFrame, { op: Name }>
/** A frame that answers a request. The hub replaces the tab's `ref` by its own. */
type Answer = Extract<ServerFrame, { ref?: unknown }>

export class Hub implements SharedTopicHost {
  readonly recent: number
  readonly #own: string
  readonly #host: HubHost
  /** All tabs. True if the tab has sent `open`. */
  readonly #tabs = new Map<string, boolean>()
  readonly #topics = new Map<string, SharedTopic>()
  readonly #asked = new Map<unknown, (answer: Answer) => void>()
  #refs = 0
  #wire: Wire | undefined
  #opened: Op<'open'> | undefined
  #cursors: Record<string, string> = {}
  /** The newest token of this tab. */
  #token: string | undefined
  #over = false

  /** `own`: the id of the leading tab. */
  constructor (own: string, host: HubHost) {
    this.#own = own
    this.#host = host
    this.recent = host.recent
    this.#tabs.set(own, false)
  }

  /** Adds a tab. False if the hub knows it already. */
  add (tab: string): boolean {
    if (this.#tabs.has(tab)) return false
    this.#tabs.set(tab, false)
    return true
  }

  remove (tab: string): void {
    if (!this.#tabs.delete(tab)) return
    for (const topic of [...this.#topics.values()]) this.#unsubscribe(tab, topic)
  }

  close (): void {
    this.#over = true
    for (const topic of this.#topics.values()) topic.end()
    this.#wire?.close()
  }

  // --- what a tab says -------------------------------------------------------------------

  said (tab: string, said: ClientFrame | Uint8Array): void {
    if (this.#over || !this.#tabs.has(tab)) return
    if (said instanceof Uint8Array || !('op' in said)) return this.#pass(tab, said)
    if (said.op === 'open') return this.#open(tab, said)
    if (said.op === 'ping') return this.#ping(tab)
    if (said.op === 'subscribe') return this.#subscribe(tab, said)
    if (said.op === 'unsubscribe') return this.#unsubscribe(tab, this.#topics.get(said.topic))
    if (said.op === 'refresh' && tab === this.#own) this.#token = said.token
    this.#pass(tab, said)
  }

  #pass (tab: string, said: ClientFrame | Uint8Array): void {
    if (said instanceof Uint8Array || !('ref' in said)) return this.#say(said)
    const { ref } = said
    this.#ask(said, (answer) => this.tell([tab], { ...answer, ref } as ServerFrame))
  }

  #ask (said: ClientFrame, answer: (answer: Answer) => void): void {
    const ref = ++this.#refs
    this.#asked.set(ref, answer)
    this.#say({ ...said, ref } as ClientFrame)
  }

  #say (said: ClientFrame | Uint8Array): void {
    if (this.#opened) this.#wire?.send(said)
  }

  #open (tab: string, { cursors = {}, token }: Extract<ClientFrame, { op: 'open' }>): void {
    this.#tabs.set(tab, true)
    if (this.#opened) return this.#tellOpen([tab], this.#opened)
    if (tab === this.#own && !this.#wire) this.#dial(cursors, token)
  }

  #dial (cursors: Record<string, string>, token: string | undefined): void {
    // The hub needs the full list of members, so the connection begins without cursors of presence.
    this.#cursors = Object.fromEntries(Object.entries(cursors).filter(([name]) => !name.startsWith(PRESENCE)))
    this.#token = token
    this.#wire = this.#host.dial({
      opening: () => ({ cursors: this.#places, token: this.#token, topics: [] }),
      heard: (frame) => { if (!this.#over) this.#heard(frame) },
      down: (code) => { if (!this.#over) this.#host.down(code) }
    })
  }

  /** The cursors from which the connection would resume now. */
  get #places (): Record<string, string> {
    const places = { ...this.#cursors }
    for (const { name, last } of this.#topics.values()) if (last !== undefined) places[name] = last
    return places
  }

  /**
   * A ping of this tab asks whether the server is there. A ping of another tab asks whether this tab is. The answer
   * needs a timer: a frozen page may still receive messages, but its timers and its socket stand still.
   */
  #ping (tab: string): void {
    if (tab === this.#own) this.#say({ op: 'ping' })
    else setTimeout(() => this.tell(this.#others(), { op: 'pong' }))
  }

  #subscribe (tab: string, { topic: name, id, ref }: Extract<ClientFrame, { op: 'subscribe' }>): void {
    let topic = this.#topics.get(name)
    if (topic) return topic.add(tab, id, ref)
    topic = this.#join(name, id)
    topic.add(tab, id, ref)
    const joining = topic
    this.#ask({ op: 'subscribe', topic: name, ...id !== undefined && { id } }, (answer) => {
      if (this.#topics.get(name) !== joining) return
      if (answer.op === 'subscribed') return joining.subscribed(answer)
      this.#topics.delete(name)
      if (answer.op === 'error') joining.refused(answer)
    })
  }

  #join (name: string, from: string | undefined): SharedTopic {
    const topic = new SharedTopic(name, from, this)
    this.#topics.set(name, topic)
    return topic
  }

  #unsubscribe (tab: string, topic: SharedTopic | undefined): void {
    if (!topic?.tabs.includes(tab)) return
    topic.remove(tab)
    if (!topic.empty) return
    this.#topics.delete(topic.name)
    this.#say({ op: 'unsubscribe', topic: topic.name, ref: 0 })
  }

  // --- what the server says --------------------------------------------------------------

  #heard (frame: ServerFrame): void {
    if (!('op' in frame)) {
      if ('topic' in frame) this.#ofTopic(frame)
      else this.tell(this.#all(), frame)
      return
    }
    this.#tellExpiry(frame)
    if (frame.op === 'open') return this.#begin(frame)
    if (frame.op === 'pong') return this.tell([this.#own], frame)
    if (frame.op === 'subscribed' && frame.ref === undefined) return this.#joined(frame)
    if ('ref' in frame && frame.ref !== undefined) return this.#answered(frame as Answer)
    if (frame.op === 'unsubscribed') return this.#taken(frame)
    if (frame.op === 'error' || !('topic' in frame)) return this.tell(this.#all(), frame)
    this.#ofTopic(frame as TopicFrame)
  }

  #begin (frame: Op<'open'>): void {
    this.#opened = frame
    this.#tellOpen([...this.#tabs].filter(([, open]) => open).map(([tab]) => tab), frame)
  }

  #tellOpen (tabs: readonly string[], frame: Op<'open'>): void {
    const others = tabs.filter((tab) => tab !== this.#own)
    const heartbeat = Math.min(frame.heartbeat, this.#host.heartbeat)
    if (others.length > 0) this.tell(others, { ...frame, heartbeat })
    if (others.length < tabs.length) this.tell([this.#own], frame)
  }

  #answered (frame: Answer): void {
    const answer = this.#asked.get(frame.ref)
    this.#asked.delete(frame.ref)
    if (answer) return answer(frame)
    // Over HTTP the error names only its topic.
    const refused = frame.op === 'error' && frame.topic !== undefined ? this.#topics.get(frame.topic) : undefined
    if (!refused) return
    this.#topics.delete(refused.name)
    refused.refused(frame as Op<'error'>)
  }

  /** The server has joined one of the channel's own topics. */
  #joined (frame: Op<'subscribed'>): void {
    const { topic: name } = frame
    if (name.startsWith(PRESENCE)) return this.#ofTopic(frame)
    const from = this.#cursors[name]
    const topic = this.#topics.get(name) ?? this.#join(name, from)
    topic.subscribed(frame, from)
  }

  #taken (frame: Op<'unsubscribed'>): void {
    const topic = this.#topics.get(frame.topic)
    if (!topic) return
    this.#topics.delete(frame.topic)
    const { tabs } = topic
    topic.end()
    this.tell(tabs, frame)
  }

  #ofTopic (frame: TopicFrame): void {
    const { topic } = frame
    if (topic.startsWith(PRESENCE)) this.#topics.get(topic.slice(PRESENCE.length))?.presence(frame)
    else this.#topics.get(topic)?.heard(frame)
  }

  /** The connection has this tab's token, so this tab renews it for the topics of other tabs too. */
  #tellExpiry (frame: ServerFrame): void {
    if (!('op' in frame) || frame.op !== 'subscribed' || frame.expires === undefined) return
    if (!this.#topics.get(frame.topic)?.tabs.includes(this.#own)) this.#host.tellOwn(frame)
  }

  // --- what the tabs are told ------------------------------------------------------------

  #all (): string[] { return [...this.#tabs.keys()] }
  #others (): string[] { return this.#all().filter((tab) => tab !== this.#own) }

  tell (tabs: readonly string[], frame: ServerFrame): void {
    if (this.#over) return
    const others = tabs.filter((tab) => tab !== this.#own && this.#tabs.has(tab))
    if (others.length > 0) this.#host.tell(others, withoutExpiry(frame))
    // A copy, because the page may change its data, and the hub keeps the frame for other tabs.
    if (tabs.includes(this.#own)) this.#host.tellOwn(structuredClone(frame))
  }

  broken (): void {
    if (!this.#over) this.#host.down(0)
  }

  catchUp (tab: string, topic: string, from: string | undefined, heard: (frame: TopicFrame) => void): () => void {
    const lost = (): void => this.#host.drop(tab)
    try {
      return catchUp(this.#host.dial, topic, from, this.#token, {
        heard,
        refused: (error) => {
          this.tell([tab], error)
          this.#unsubscribe(tab, this.#topics.get(topic))
        },
        lost
      })
    } catch {
      lost()
      return () => {}
    }
  }
}

/** Removes `expires`, because only the leading tab renews the token. */
function withoutExpiry (frame: ServerFrame): ServerFrame {
  return 'expires' in frame ? { ...frame, expires: undefined } : frame
}
