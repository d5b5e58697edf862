/**
 * What this node holds of one topic: what it wants to be in Redis, and what it knows to be there. One batch is on its
 * way at a time, with the token of the one before; it is sent again, byte for byte, until Redis has answered.
 */
import type { Holding, LeaveReason, MemberChange, MemberTopic } from '../../../core/adapter.ts'

/** HOLD's answer. */
export type HoldAnswer =
  | {
    readonly is: 'done'
    /** Since when Redis knows anything of the topic. */
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
  /** Kind, id and text of each. */
  readonly args: readonly string[]
  readonly ids: readonly string[]
}

export interface HeldTopicHost {
  readonly node: string
  token (): string
  /** Registers and indexes this node. False where it is another one from here on. @throws what Redis answers */
  prepare (topic: string): Promise<boolean>
  send (topic: MemberTopic, batch: Batch): Promise<HoldAnswer>
  /** Members of this node that are in Redis, by id. */
  readHeld (topic: string, node: string): Promise<Map<string, string>>
  /** The node was taken for dead under this name. */
  died (node: string): Promise<void>
  told (topic: MemberTopic, change: MemberChange): void
  /** Resolves when it is worth trying again; false once nobody wants it any more. */
  pause (attempt: number): Promise<boolean>
  /** Nothing of it is held, and all of that is said. */
  empty (topic: string): void
}

const BATCH_MEMBERS = 200
const BATCH_BYTES = 48 * 1024
const KINDS: Record<LeaveReason, string> = { left: '-', removed: 'r', lost: 'l' }

/** What is to be said of a member, until Redis knows it. */
type Wish = Holding & { readonly is: 'there' }

export class HeldTopic {
  topic: MemberTopic
  readonly #host: HeldTopicHost
  readonly #wanted = new Map<string, Wish>()
  /** Why those went that are not wanted any more. */
  readonly #gone = new Map<string, LeaveReason>()
  /** Under which name of this node Redis knows it, and up to which batch. */
  #node = ''
  #token = ''
  #stored = new Map<string, string>()
  readonly #dirty = new Set<string>()
  /** Those that Redis has known to be held here, under whatever name. */
  readonly #held = new Set<string>()
  #birth = ''
  /** Those that this node held when Redis lost them: that they are there again is no news. */
  readonly #lost = new Set<string>()
  /** Those whose leave Redis had taken, and then lost: that they leave again is no news. */
  readonly #left = new Set<string>()
  /** Members for whom there was no room, in the order in which they were refused. */
  readonly #refused = new Set<string>()
  /** Nobody knows whether Redis has it still. */
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

  /** Redis may have lost it: it is compared. */
  doubt (): void {
    this.#doubtful = true
    this.work()
  }

  /** Says again some of the members for whom there was no room: others may have left, on any node. */
  askForRoom (): void {
    if (this.#refused.size === 0) return
    for (const id of [...this.#refused].slice(0, BATCH_MEMBERS)) this.#dirty.add(id)
    this.work()
  }

  /** Nobody is held, and nothing is to be said. */
  get idle (): boolean { return this.#working === undefined && this.#wanted.size === 0 }

  /** Resolves when all is said. */
  async settled (): Promise<void> {
    while (this.#working) await this.#working
  }

  work (): void {
    // What is said in one turn goes together.
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

  /** Under another name: all of it is to be said, and nothing of that is news where others know it. */
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
    // What this node has shown before is its own to change.
    const ours = wish.shows === 'ours' || this.#stored.has(id)
    return [ours ? '+' : '=', id, wish.data]
  }

  async #take (batch: Batch, answer: HoldAnswer): Promise<void> {
    if (answer.is === 'done') return this.#done(batch, answer)
    for (const id of batch.ids) this.#dirty.add(id)
    if (answer.is === 'dead') return await this.#host.died(batch.node)
    await this.#compare(batch.node, answer.token)
  }

  #done ({ args, token }: Batch, { birth, joined, gone, refused }: HoldAnswer & { is: 'done' }): void {
    this.#token = token
    this.#bornAgain(birth)
    for (let i = 1; i < args.length; i += 3) this.#refused.delete(args[i] as string)
    for (const id of refused) this.#refused.add(id)
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

  /** Some of what was said is not there, as on a replica that lacked it: the difference is said again. */
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
      // What others hold too is theirs to show: two nodes would take turns without end.
      if (text === undefined || (shows === 'ours' && text !== data)) this.#dirty.add(id)
    }
    this.#doubtful = true
  }
}
