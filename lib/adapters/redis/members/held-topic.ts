/**
 * The members that this node holds in one topic: those that it wants in Redis, and those that it knows to be there. One
 * batch is on its way at a time, with the token of the batch before. It is sent again unchanged until Redis has
 * answered.
 */
import type { Holding, LeaveReason, MemberChange, MemberTopic } from '../../../core/adapter.ts'

/** HOLD's answer. */
export type HoldAnswer =
  | {
    readonly is: 'done'
    /** Identifies the life of the topic in Redis. It changes if Redis lost the topic. */
    readonly birth: string
    readonly joined: readonly string[]
    readonly gone: ReadonlyArray<[LeaveReason, string[]]>
    /** Ids of members for whom the topic has no room (`maxMembers`). */
    readonly refused: readonly string[]
  }
  | { readonly is: 'lost', readonly token: string }
  | { readonly is: 'dead' }

export interface Batch {
  readonly node: string
  readonly before: string
  readonly token: string
  /** Kind, id and text of each member. */
  readonly args: readonly string[]
  readonly ids: readonly string[]
}

export interface HeldTopicHost {
  readonly node: string
  token (): string
  /** Registers this node and indexes the topic. False if the node has got another name. @throws what Redis answers */
  prepare (topic: string): Promise<boolean>
  send (topic: MemberTopic, batch: Batch): Promise<HoldAnswer>
  /** Resolves with the members that Redis has for this node: text by id. */
  readHeld (topic: string, node: string): Promise<Map<string, string>>
  /** Redis took the node with this name for dead. */
  died (node: string): Promise<void>
  told (topic: MemberTopic, change: MemberChange): void
  /** Resolves when it is worth trying again, or with false if the adapter was closed. */
  pause (attempt: number): Promise<boolean>
  /** This node holds no member of the topic any more, and Redis knows that. */
  empty (topic: string): void
}

const BATCH_MEMBERS = 200
const BATCH_BYTES = 48 * 1024
const KINDS: Record<LeaveReason, string> = { left: '-', removed: 'r', lost: 'l' }

/** What Redis is to know of a member that is there. */
type Wish = Holding & { readonly is: 'there' }

export class HeldTopic {
  topic: MemberTopic
  readonly #host: HeldTopicHost
  readonly #wanted = new Map<string, Wish>()
  /** Why members left that this node does not hold any more. */
  readonly #gone = new Map<string, LeaveReason>()
  /** The name under which this node was last sent, and the token of its last batch. */
  #node = ''
  #token = ''
  #stored = new Map<string, string>()
  readonly #dirty = new Set<string>()
  /** Members that Redis has known to be held here, under any name of this node. */
  readonly #held = new Set<string>()
  #birth = ''
  /** Members that this node held when Redis lost them. Their new join is not reported. */
  readonly #lost = new Set<string>()
  /** Members whose leave Redis had accepted and then lost. Their new leave is not reported. */
  readonly #left = new Set<string>()
  /** Members for whom there was no room, in the order in which they were refused. */
  readonly #refused = new Set<string>()
  /** True if Redis may have lost some of it. */
  #doubtful = false
  #working: Promise<void> | undefined

  constructor (topic: MemberTopic, host: HeldTopicHost) {
    this.topic = topic
    this.#host = host
  }

  hold (topic: MemberTopic, id: string, holding: Holding): void {
    this.topic = topic
    if (holding.is === 'there') {
      this.#wanted.set(id, holding)
      this.#gone.delete(id)
      this.#left.delete(id)
    } else {
      this.#wanted.delete(id)
      this.#gone.set(id, holding.reason)
    }
    this.#dirty.add(id)
    this.work()
  }

  /** Redis may have lost members: compares them. */
  doubt (): void {
    this.#doubtful = true
    this.work()
  }

  /** Sends again some of the members for whom there was no room: others may have left, on any node. */
  askForRoom (): void {
    if (this.#refused.size === 0) return
    this.#markRefused()
    this.work()
  }

  #markRefused (): void {
    for (const id of [...this.#refused].slice(0, BATCH_MEMBERS)) this.#dirty.add(id)
  }

  /** True if no member is held and nothing is being sent. */
  get idle (): boolean { return this.#working === undefined && this.#wanted.size === 0 }

  /** Resolves when Redis knows everything. */
  async settled (): Promise<void> {
    while (this.#working) await this.#working
  }

  work (): void {
    // Calls of one turn go into one batch.
    this.#working ??= Promise.resolve().then(async () => await this.#work()).finally(() => {
      this.#working = undefined
      if (this.#dirty.size > 0 || this.#doubtful) this.work()
      else if (this.#wanted.size === 0) this.#host.empty(this.topic.topic)
    })
  }

  async #work (): Promise<void> {
    let batch: Batch | undefined
    for (let attempt = 0; this.#dirty.size > 0 || this.#doubtful || batch;) {
      try {
        if (this.#node !== this.#host.node) {
          this.#startAnew()
          batch = undefined
        }
        if (!await this.#host.prepare(this.topic.topic)) throw new Error('this node has another name now')
        batch ??= this.#nextBatch()
        await this.#take(batch, await this.#host.send(this.topic, batch))
        batch = undefined
        attempt = 0
      } catch {
        if (!await this.#host.pause(attempt++)) return this.#giveUp()
      }
    }
  }

  #giveUp (): void {
    this.#dirty.clear()
    this.#doubtful = false
    this.#wanted.clear()
    this.#refused.clear()
  }

  /** This node has another name. All members are sent again; if other nodes know a member, that is no join. */
  #startAnew (): void {
    this.#node = this.#host.node
    this.#token = ''
    this.#stored = new Map()
    this.#gone.clear()
    this.#dirty.clear()
    this.#refused.clear()
    for (const id of this.#wanted.keys()) this.#dirty.add(id)
    this.#doubtful = true
  }

  #nextBatch (): Batch {
    const args: string[] = []
    const ids: string[] = []
    let bytes = 0
    for (const id of this.#dirty) {
      if (ids.length === BATCH_MEMBERS || bytes > BATCH_BYTES) break
      const said = this.#wordsFor(id)
      args.push(...said)
      ids.push(id)
      bytes += (said[2]?.length ?? 0) + id.length
    }
    for (const id of ids) this.#dirty.delete(id)
    this.#doubtful = false
    return { node: this.#node, before: this.#token, token: this.#host.token(), args, ids }
  }

  #wordsFor (id: string): string[] {
    const wish = this.#wanted.get(id)
    if (!wish) return [KINDS[this.#gone.get(id) ?? 'left'], id, JSON.stringify(id)]
    // A node may change what it has shown itself.
    const ours = wish.shows === 'ours' || this.#stored.has(id)
    return [ours ? '+' : '=', id, wish.data]
  }

  async #take (batch: Batch, answer: HoldAnswer): Promise<void> {
    if (answer.is === 'done') return this.#done(batch, answer)
    this.#setDirty([...batch.ids, ...this.#dirty])
    if (answer.is === 'dead') return await this.#host.died(batch.node)
    await this.#compare(batch.node, answer.token)
  }

  #done ({ args, token }: Batch, { birth, joined, gone, refused }: HoldAnswer & { is: 'done' }): void {
    this.#token = token
    this.#bornAgain(birth)
    const still = new Set(refused)
    // Those who are refused again keep their place among those who wait.
    for (let i = 1; i < args.length; i += 3) if (!still.has(args[i] as string)) this.#refused.delete(args[i] as string)
    for (const id of still) this.#refused.add(id)
    // Before anybody comes later.
    if (gone.some(([, ids]) => ids.length > 0)) this.#markRefused()
    const members: string[] = []
    for (let i = 0; i < args.length; i += 3) {
      const [kind, id, text] = args.slice(i, i + 3) as [string, string, string]
      if (this.#refused.has(id)) {
        for (const known of [this.#stored, this.#held, this.#lost]) known.delete(id)
      } else if (kind === '=' || kind === '+') {
        this.#stored.set(id, text)
        this.#held.add(id)
        if (joined.includes(id) && !this.#lost.delete(id)) members.push(text)
      } else {
        this.#held.delete(id)
        this.#lost.delete(id)
        this.#stored.delete(id)
        if (!this.#wanted.has(id) && !this.#dirty.has(id)) this.#gone.delete(id)
      }
    }
    if (members.length > 0) this.#host.told(this.topic, { type: 'join', members })
    for (const [reason, all] of gone) {
      const ids = all.filter((id) => !this.#left.has(id))
      if (ids.length > 0) this.#host.told(this.topic, { type: 'leave', ids, reason })
    }
    for (let i = 1; i < args.length; i += 3) this.#left.delete(args[i] as string)
  }

  #bornAgain (birth: string): void {
    if (this.#birth !== '' && this.#birth !== birth) for (const id of this.#held) this.#lost.add(id)
    this.#birth = birth
  }

  /**
   * Redis lacks some of what it had accepted, for example after a failover to a replica. The difference is sent again.
   */
  async #compare (node: string, token: string): Promise<void> {
    const stored = await this.#host.readHeld(this.topic.topic, node)
    const before = this.#stored
    this.#token = token
    this.#stored = stored
    for (const id of stored.keys()) {
      if (this.#wanted.has(id)) continue
      if (!before.has(id) && !this.#dirty.has(id)) this.#left.add(id)
      this.#dirty.add(id)
    }
    for (const [id, { shows, data }] of this.#wanted) {
      const text = stored.get(id)
      if (text === undefined && before.has(id)) this.#lost.add(id)
      // If other nodes hold the member too, their text stays. Otherwise two nodes would overwrite each other for ever.
      if (text === undefined || (shows === 'ours' && text !== data)) this.#dirty.add(id)
    }
    // Members who were shown are sent first, and those who wait for room later: the loss costs nobody a place.
    const due = [...this.#dirty].filter((id) => !(this.#refused.has(id) && this.#wanted.has(id)))
    this.#setDirty(due.sort((a, b) => Number(before.has(b)) - Number(before.has(a))))
    this.#doubtful = true
  }

  /** They are sent in this order. */
  #setDirty (ids: readonly string[]): void {
    this.#dirty.clear()
    for (const id of ids) this.#dirty.add(id)
  }
}
