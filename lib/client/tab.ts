/**
 * One tab's connection. Either the tab follows the leading tab, or it leads and has the connection to the server. Each
 * tab holds a lock of its own. Its release tells the other tabs that the tab has ended, for whatever reason.
 */
import type { ClientFrame, ServerFrame } from '../protocol.ts'
import { Hub } from './hub.ts'
import { claim, PostBox, type Browser, type Post } from './tab-posts.ts'
import type { Dial, Wire, WireHost } from './wire.ts'

export interface TabOptions {
  readonly browser: Browser
  /** Identifies the connection that is shared. */
  readonly name: string
  readonly dial: Dial
  /** How many frames are kept of each topic. */
  readonly recent: number
  /** ms */
  readonly patience: number
}

/** ms: after so much silence a tab asks whether the leader is there. */
const HEARTBEAT_MS = 5000
/** ms: if a message arrives so late, this tab was asleep, and other tabs may have gone on without it. */
const STALE_MS = 5000
/** How often a tab calls before it takes the lead from a leader that does not answer. */
const CALLS = 2
/** ms: a leader answers by a timer, and timers of a hidden page run once a second. */
const HIDDEN_MS = 3000
const NEVER = 4400

type Role = 'new' | 'calling' | 'following' | 'leading' | 'alone' | 'over'

export class Tab implements Wire {
  readonly #id = crypto.randomUUID?.() ?? `${Date.now()}${Math.random()}`
  readonly #options: TabOptions
  readonly #host: WireHost
  readonly #ends: Array<() => void> = []
  #role: Role = 'new'
  #box: PostBox | undefined
  #leader: string | undefined
  #hub: Hub | undefined
  /** The tab's own connection, if nothing can be shared. */
  #wire: Wire | undefined
  #calls = 0
  #timer: ReturnType<typeof setTimeout> | undefined
  #letLead = (): void => {}
  readonly #watched = new Map<string, () => void>()

  constructor (options: TabOptions, host: WireHost) {
    this.#options = options
    this.#host = host
    const { browser, name } = options
    try {
      this.#box = new PostBox(browser.channel(name), this.#id, (post, from) => this.#hear(post, from))
      this.#ends.push(browser.onSleep(() => this.#end(0)))
      const lost = (): void => this.#role === 'new' ? this.#goAlone() : this.#moveOn()
      this.#ends.push(claim(browser.locks, this.#lifeOf(this.#id), {}, () => this.#begin(), lost))
    } catch {
      this.#goAlone()
    }
  }

  #lifeOf (tab: string): string { return `${this.#options.name} ${tab}` }

  // --- what the session says -------------------------------------------------------------

  send (said: ClientFrame | Uint8Array): void {
    if (this.#role === 'alone') this.#wire?.send(said)
    else if (this.#role === 'leading') this.#hub?.said(this.#id, said)
    else if (this.#role === 'following') this.#sendOn(said)
  }

  #sendOn (said: ClientFrame | Uint8Array): void {
    // The token and the cursors of a follower are for a connection of its own.
    const open = 'op' in said && said.op === 'open'
    const frame = said instanceof Uint8Array ? said : JSON.stringify(open ? { op: 'open' } : said)
    this.#post({ say: 'said', frame, at: Date.now() })
  }

  get patience (): number | undefined { return this.#role === 'following' ? HIDDEN_MS : undefined }

  close (): void {
    if (this.#role === 'over') return
    if (this.#role === 'following') this.#post({ say: 'left' })
    if (this.#role === 'leading') this.#post({ say: 'over' })
    this.#role = 'over'
    clearTimeout(this.#timer)
    this.#letLead()
    this.#hub?.close()
    this.#wire?.close()
    this.#part()
  }

  #part (): void {
    for (const end of [...this.#ends, ...this.#watched.values()]) end()
    this.#box?.close()
  }

  #end (code: number): void {
    if (this.#role === 'over') return
    this.close()
    this.#host.down(code)
  }

  /** Ends this connection. The session dials again at once, because another tab leads or will lead. */
  #moveOn (): void {
    if (this.#role === 'over') return
    this.#host.heard({ op: 'bye', code: 1012, reason: 'another tab leads', reconnect: true, retry: 0 })
    this.#end(0)
  }

  // --- who leads -------------------------------------------------------------------------

  #begin (): void {
    if (this.#role !== 'new') return
    this.#role = 'calling'
    this.#askToLead({})
    this.#call()
  }

  #askToLead (options: { steal?: boolean }): void {
    this.#letLead()
    const { browser: { locks }, name } = this.#options
    this.#letLead = claim(locks, name, options, () => this.#lead(), () => this.#moveOn())
  }

  /**
   * Calls for a leader. A busy tab runs its timers before its messages, so it calls once more before it takes the lead.
   */
  #call (): void {
    if (this.#calls++ >= CALLS) return this.#askToLead({ steal: true })
    this.#post({ say: 'hello' })
    // The delay is random, so that two tabs do not take the lead from each other.
    this.#timer = setTimeout(() => this.#call(), this.#options.patience / CALLS * (1 + Math.random() / 2))
  }

  #lead (): void {
    // This tab follows already, because another one was faster.
    if (this.#role !== 'calling') return this.#letLead()
    this.#role = 'leading'
    clearTimeout(this.#timer)
    const { dial, recent } = this.#options
    this.#hub = new Hub(this.#id, {
      recent,
      heartbeat: HEARTBEAT_MS,
      dial,
      tellOwn: (frame) => this.#tell(frame),
      tell: (tabs, frame) => this.#post({ say: 'heard', frame }, tabs),
      drop: (tab) => this.#drop(tab),
      down: (code) => {
        this.#post({ say: 'down', code })
        this.#end(code)
      }
    })
    this.#post({ say: 'lead' })
    this.#openOrRefuse()
  }

  /** If dialling throws, another attempt would fail too, so the client is refused. */
  #openOrRefuse (): void {
    try {
      this.#open()
    } catch (error) {
      this.#refuse(error)
    }
  }

  #open (): void {
    const { cursors, token } = this.#host.opening()
    this.send({ op: 'open', cursors, ...token !== undefined && { token } })
  }

  #refuse (error: unknown): void {
    const { code = String(error), message = '' } = error as { code?: string, message?: string }
    this.#host.heard({ op: 'error', code, message })
    this.#end(NEVER)
  }

  #follow (leader: string): void {
    if (this.#role !== 'calling') return
    this.#role = 'following'
    this.#leader = leader
    clearTimeout(this.#timer)
    this.#letLead()
    this.#watch(leader, () => this.#moveOn())
    this.#open()
  }

  #goAlone (): void {
    if (this.#role !== 'new') return
    this.#role = 'alone'
    this.#part()
    queueMicrotask(() => {
      if (this.#role !== 'alone') return
      try {
        this.#wire = this.#options.dial(this.#host)
      } catch (error) {
        this.#refuse(error)
      }
    })
  }

  /** Calls `gone` when the tab is closed, has crashed, or has ended its part. */
  #watch (tab: string, gone: () => void): void {
    const end = claim(this.#options.browser.locks, this.#lifeOf(tab), { mode: 'shared' }, () => {
      end()
      this.#watched.delete(tab)
      gone()
    })
    this.#watched.set(tab, end)
  }

  // --- what the others say ---------------------------------------------------------------

  #hear (post: Post, from: string): void {
    if (this.#role === 'leading') this.#hearAsLeader(post, from)
    else if (post.say === 'lead') this.#hearOfLeader(from)
    else if (post.say === 'welcome') this.#follow(from)
    else if (this.#role === 'following' && from === this.#leader) this.#hearLeader(post)
  }

  #hearOfLeader (from: string): void {
    if (this.#role === 'calling') this.#post({ say: 'hello' })
    else if (this.#role === 'following' && from !== this.#leader) this.#moveOn()
  }

  #hearLeader (post: Post): void {
    if (post.say === 'heard') this.#tell(post.frame as ServerFrame)
    else if (post.say === 'down') this.#end(post.code)
    else if (post.say === 'over') this.#moveOn()
  }

  #hearAsLeader (post: Post, from: string): void {
    // By a timer: the timers of a frozen page stand still, so that it does not answer.
    if (post.say === 'hello') setTimeout(() => this.#welcome(from))
    else if (post.say === 'left') this.#forget(from)
    else if (post.say === 'said') this.#hearSaid(from, post)
    // This tab has slept, and another one has taken the lead.
    else if (post.say === 'lead') this.#moveOn()
  }

  #welcome (tab: string): void {
    if (this.#role !== 'leading') return
    if (this.#hub?.add(tab)) this.#watch(tab, () => this.#forget(tab))
    this.#post({ say: 'welcome' }, [tab])
  }

  #forget (tab: string): void {
    this.#watched.get(tab)?.()
    this.#watched.delete(tab)
    this.#hub?.remove(tab)
  }

  /** The sender of such an old message has given it up, and may have sent it again to another leader. */
  #hearSaid (tab: string, { frame, at }: Extract<Post, { say: 'said' }>): void {
    if (Date.now() - at > STALE_MS) return this.#moveOn()
    try {
      this.#hub?.said(tab, frame instanceof Uint8Array ? frame : JSON.parse(frame) as ClientFrame)
    } catch {
      this.#drop(tab)
    }
  }

  #drop (tab: string): void {
    if (tab === this.#id) return this.#end(0)
    this.#post({ say: 'down', code: 0 }, [tab])
    this.#forget(tab)
  }

  /** If a frame cannot be read, the connection ends, and the client resumes. */
  #tell (frame: ServerFrame): void {
    try {
      this.#host.heard(frame)
    } catch {
      this.#end(0)
    }
  }

  /** Posts to the named tabs. Without names: to the leader, or to all if there is none. */
  #post (post: Post, to?: readonly string[]): void {
    this.#box?.post(post, to ?? (this.#leader === undefined ? undefined : [this.#leader]))
  }
}
