/** Members on Redis: what this node holds of each topic, its lease, and the removal of what dead nodes held. */
import type { Holding, LeaveReason, MemberChange, MemberStore, MemberTopic } from '../../../core/adapter.ts'
import { memberEventStart } from '../../../core/member-events.ts'
import type { RedisNode } from '../node.ts'
import { LEASE_BEATS, Registry, type Dead } from './registry.ts'
import { HeldTopic, type Batch, type HeldTopicHost, type HoldAnswer } from './held-topic.ts'
import { HELD, HOLD, NODES, REAP } from './scripts.ts'

export interface RedisMembersHost {
  /** Resolves when it is worth trying again. Never rejects. */
  pause (attempt: number): Promise<void>
  acknowledged (topic: string, id: string): void
  /** The topics that this node listens to. */
  listened (): readonly string[]
}

type Told = (topic: MemberTopic, change: MemberChange) => void

const LIFE_MS = 86_400_000
/** Keys that one script reads. */
const PART_KEYS = 200
/** How often each topic is compared with Redis, ms, in case nobody reported a loss. This also renews its life. */
const COMPARE_MS = 60_000
/** All topics are looked at for so many leases more than the time after which an unlisted node counts as dead. */
const LEASES_LONGER = 3
/** How long an empty topic is remembered, ms. A failover may bring back members that had left. */
const EMPTIED_MS = 60_000
/** At most so many topics. Above it, those that were left first are forgotten. */
const MAX_EMPTIED = 100_000
const NOTHING: Told = () => {}

export class RedisMembers implements MemberStore, HeldTopicHost {
  readonly settle: number
  readonly #node: RedisNode
  readonly #host: RedisMembersHost
  readonly #registry: Registry
  readonly #beatMs: number
  readonly #topics = new Map<string, HeldTopic>()
  /** Topics without members here, and the beat at which each became empty. */
  readonly #emptied = new Map<string, number>()
  /** Counts beats at which Redis could be reached. Without Redis nothing is forgotten. */
  #beatsUp = 0
  /** Topics in which this node is indexed under its present name. */
  readonly #indexed = new Set<string>()
  #told = NOTHING
  /** Returns the declaration of a topic of which this node holds no member. */
  #describe: (topic: string) => MemberTopic | undefined = () => undefined
  #timer: NodeJS.Timeout | undefined
  #closed = false
  #tokens = 0
  /** Topics still to be compared in this round, how many are compared in one beat, and how many are due. */
  #rest: string[] = []
  #perBeat = 0
  #due = 0
  /** For each topic, the nodes that are not in the registry, and the beat at which each was first seen. */
  readonly #strangers = new Map<string, ReadonlyMap<string, number>>()
  /**
   * Beats since Redis may have lost the registry. All topics are looked at in the first of them. Beats are counted, not
   * time: a process that was paused has not looked meanwhile.
   */
  #beatsLooking = 0

  /** `beat`: ms */
  constructor (node: RedisNode, beat: number, host: RedisMembersHost) {
    this.#beatMs = beat
    this.settle = 2.5 * beat
    this.#node = node
    this.#host = host
    this.#registry = new Registry(node, beat, {
      renewed: (old) => this.#renewed(old),
      reap: async (dead) => await this.#reap(dead)
    })
  }

  watch (told: Told, describe: (topic: string) => MemberTopic | undefined): void {
    this.#told = told
    this.#describe = describe
    this.#startLooking()
    this.#timer ??= setInterval(() => this.#beat(), this.#beatMs).unref()
  }

  hold (topic: MemberTopic, id: string, holding: Holding): void {
    if (this.#closed) return
    this.#registry.raiseGrace(topic.grace)
    let held = this.#topics.get(topic.topic)
    if (!held) this.#topics.set(topic.topic, held = new HeldTopic(topic, this))
    this.#emptied.delete(topic.topic)
    held.hold(topic, id, holding)
  }

  async held (topic: string): Promise<void> {
    await this.#topics.get(topic)?.settled()
  }

  doubt (topic: string): void {
    this.#topics.get(topic)?.doubt()
  }

  /** Redis may have lost members of these topics. */
  suspect (topics: readonly string[] | 'all'): void {
    for (const topic of topics === 'all' ? this.#topics.keys() : topics) this.#topics.get(topic)?.doubt()
  }

  async close (): Promise<void> {
    this.#closed = true
    clearInterval(this.#timer)
    if (this.#node.commands.up) await this.#registry.close()
  }

  // --- the beat ------------------------------------------------------------------------

  #beat (): void {
    if (this.#closed) return
    // Nothing could be looked at, so looking starts over.
    if (!this.#node.commands.up) return this.#startLooking()
    // A node that never held a member is not registered, but its beat looks after the other nodes.
    this.#registry.beat().catch(() => {})
    this.#beatsUp++
    this.#forgetSome()
    this.#compareSome()
    this.#lookAtAll()
    for (const topic of this.#topics.values()) topic.askForRoom()
  }

  #forgetSome (): void {
    const due = this.#beatsUp - EMPTIED_MS / this.#beatMs
    for (const [topic, at] of this.#emptied) {
      if (at > due && this.#emptied.size <= MAX_EMPTIED) return
      if (this.#topics.get(topic)?.idle === false) continue
      this.#emptied.delete(topic)
      this.#topics.delete(topic)
      this.#strangers.delete(topic)
    }
  }

  #startLooking (): void {
    this.#beatsLooking = 0
  }

  /** Looks at all topics, once in a lease. */
  #lookAtAll (): void {
    const leases = 1 + Math.ceil(this.#registry.patience / (LEASE_BEATS * this.#beatMs)) + LEASES_LONGER
    if (this.#beatsLooking >= leases * LEASE_BEATS || ++this.#beatsLooking % LEASE_BEATS !== 0) return
    for (const name of this.#names()) this.#scrub(name).catch(() => this.#startLooking())
  }

  #compareSome (): void {
    if (this.#rest.length === 0) {
      this.#rest = this.#names()
      this.#perBeat = this.#rest.length * this.#beatMs / COMPARE_MS
    }
    for (this.#due += this.#perBeat; this.#due >= 1; this.#due--) {
      const name = this.#rest.pop()
      if (name === undefined) return
      this.#topics.get(name)?.doubt()
      this.#scrub(name).catch(() => {})
    }
  }

  /** The topics of which this node holds members, or that it has declared and listens to. */
  #names (): string[] {
    const heard = this.#host.listened().filter((name) => this.#describe(name) !== undefined)
    return [...new Set([...this.#topics.keys(), ...heard])]
  }

  /**
   * Removes what a node said that has not been in the registry for long enough. The delay lets a node whose name Redis
   * lost say everything under its new name first.
   */
  async #scrub (topic: string): Promise<void> {
    const said = await this.#node.commands.run(NODES, [this.#node.keys.of(topic).nodes], []) as Buffer[]
    const strangers = said.map(String).filter((node) => !this.#registry.listed.has(node))
    const before = this.#strangers.get(topic)
    const seen = new Map(strangers.map((node) => [node, before?.get(node) ?? this.#beatsUp]))
    if (strangers.length > 0) this.#strangers.set(topic, seen)
    else this.#strangers.delete(topic)
    // Patience is counted in beats: if this machine was paused, the other node may have been paused too.
    const patience = this.#registry.patience / this.#beatMs
    for (const [node, since] of seen) {
      if (this.#beatsUp - since >= patience) await this.#registry.buryNow(node, [topic])
    }
  }

  #renewed (old: string): void {
    if (this.#closed) return
    this.#startLooking()
    this.#indexed.clear()
    const topics = [...this.#topics.values()]
    for (const topic of topics) topic.work()
    for (const topic of topics) topic.doubt()
    // First the new name holds everything, then the old one is removed. So no client sees a leave.
    Promise.all(topics.map(async (topic) => await topic.settled()))
      .then(async () => await this.#registry.buryNow(old)).catch(() => this.#startLooking())
  }

  // --- what its topics ask -------------------------------------------------------------

  get node (): string { return this.#registry.id }

  token (): string {
    return `${this.#node.id}-${(this.#tokens++).toString(36)}`
  }

  async prepare (topic: string): Promise<boolean> {
    const { id } = this.#registry
    await this.#registry.ensure()
    if (this.#registry.id !== id) return false
    if (this.#indexed.has(topic)) return true
    if (!await this.#registry.index(topic) || this.#registry.id !== id) return false
    this.#indexed.add(topic)
    return true
  }

  async send (topic: MemberTopic, { node, before, token, args }: Batch): Promise<HoldAnswer> {
    const answer = await this.#node.commands.run(HOLD, this.#keys(topic.topic), [
      ...this.#header(topic, node), before, token, ...args
    ]) as [Buffer, Buffer, Buffer, Buffer[], Buffer[], Buffer[], Buffer[], Buffer[]]
    const [is, said, birth, joined = [], left = [], lost = [], removed = [], refused = []] = answer
    if (String(is) === 'dead') return { is: 'dead' }
    if (String(is) === 'lost') return { is: 'lost', token: String(said) }
    this.#host.acknowledged(topic.topic, String(said))
    const gone: Array<[LeaveReason, string[]]> = [
      ['left', left.map(String)], ['lost', lost.map(String)], ['removed', removed.map(String)]
    ]
    return { is: 'done', birth: String(birth), joined: joined.map(String), gone, refused: refused.map(String) }
  }

  #keys (topic: string): string[] {
    const { log, head, state, nodes } = this.#node.keys.of(topic)
    return [log, head, state, nodes]
  }

  #header ({ topic, subject, event, mode, maxMembers, retention }: MemberTopic, node: string): string[] {
    const { commands, keys, announce } = this.#node
    const start = `j ${Buffer.byteLength(event)} -\n${event}${memberEventStart(subject)}`
    return [
      this.#node.nonce(), keys.of(topic).channel, announce, String(LIFE_MS), commands.server, String(retention.limit),
      start, mode, String(Math.min(maxMembers, Number.MAX_SAFE_INTEGER)), node
    ]
  }

  async readHeld (topic: string, node: string): Promise<Map<string, string>> {
    const held = new Map<string, string>()
    for (let place = ''; ;) {
      const [next, ...found] = await this.#node.commands.run(HELD, [this.#node.keys.of(topic).state], [
        place, String(PART_KEYS), node
      ]) as Buffer[]
      for (let i = 0; i + 1 < found.length; i += 2) held.set(String(found[i]), String(found[i + 1]))
      place = String(next)
      if (place === '') return held
    }
  }

  async died (node: string): Promise<void> {
    await this.#registry.died(node)
  }

  told (topic: MemberTopic, change: MemberChange): void {
    this.#told(topic, change)
  }

  async pause (attempt: number): Promise<boolean> {
    if (!this.#closed) await this.#host.pause(attempt)
    return !this.#closed
  }

  empty (topic: string): void {
    if (!this.#emptied.has(topic)) this.#emptied.set(topic, this.#beatsUp)
    if (this.#indexed.delete(topic) && !this.#closed) this.#registry.unindex(topic)
  }

  // --- reaping -------------------------------------------------------------------------

  async #reap (dead: Dead): Promise<void> {
    for await (const topics of dead.topics()) {
      for (const topic of topics) await this.#reapIn(topic, dead)
    }
  }

  async #reapIn (name: string, dead: Dead): Promise<void> {
    const topic = this.#topics.get(name)?.topic ?? this.#describe(name)
    if (!topic) return
    for (let place = ''; ;) {
      const [next, id, ids] = await this.#patiently(async () =>
        await this.#node.commands.run(REAP, this.#keys(name), [
          ...this.#header(topic, dead.node), place, String(PART_KEYS), dead.reason
        ]) as [Buffer, Buffer, Buffer[]])
      this.#host.acknowledged(name, String(id))
      if (ids.length > 0) this.#told(topic, { type: 'leave', ids: ids.map(String), reason: dead.reason })
      if (!await this.#patiently(async () => await dead.step())) throw new Error('another node has taken over')
      place = String(next)
      if (place === '') return
    }
  }

  async #patiently<T> (work: () => Promise<T>): Promise<T> {
    for (let attempt = 0; ; attempt++) {
      try {
        return await work()
      } catch (error) {
        if (!await this.pause(attempt)) throw error
      }
    }
  }
}
