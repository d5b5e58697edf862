/**
 * The registry of nodes that hold members, and which of them are alive. Each node raises its number at every beat. If a
 * number does not change for some beats, its node is dead. The first node that marks it reaps it step by step. If the
 * mark stops changing, another node takes over by the same rule.
 */
import { randomId } from '../../../core/id.ts'
import type { RedisNode } from '../node.ts'
import { BEAT, FORGET, INDEX, MARK, TOPICS, UNINDEX } from './scripts.ts'

export interface RegistryHost {
  /** This node has a new name. It must say again what it holds. */
  renewed (old: string): void
  /** A node is dead, and this node must reap it. Resolves when nothing of it is left. */
  reap (dead: Dead): Promise<void>
}

export type EndReason = 'left' | 'lost'

/** A node that is being reaped. */
export interface Dead {
  readonly node: string
  readonly reason: EndReason
  /** Records progress. False if another node has taken over. */
  step (): Promise<boolean>
  /** The topics of the dead node, in parts. */
  topics (): AsyncGenerator<readonly string[]>
}

/** A node is dead if its number has not changed for so many beats. */
export const LEASE_BEATS = 3
/** A look that comes sooner than so many beats after the last one does not count. */
const SOON = 0.8
/** After so many beats without a look, this node forgets what it knows of the other nodes. */
const LATE = 2.5
const LIFE_MS = 86_400_000
const TOPICS_AT_ONCE = 500

/** A node's value, and how often it was seen again. */
interface Seen { value: string, times: number }

export class Registry {
  readonly #node: RedisNode
  readonly #host: RegistryHost
  readonly #key: string
  readonly #beatMs: number
  readonly #seen = new Map<string, Seen>()
  /** The nodes that were registered at the last beat, alive or being reaped. */
  #listed: ReadonlySet<string> = new Set()
  #id = newNode()
  #state: 'new' | 'registered' | 'closed' = 'new'
  /** How long members stay after their node has died, ms. */
  #grace = 0
  #looked = -Infinity
  /** No node is judged before this time (performance.now): after a gap the others may have been paused too. */
  #blindUntil = 0
  #beating: Promise<void> | undefined
  #renewing: Promise<void> | undefined

  constructor (node: RedisNode, beatMs: number, host: RegistryHost) {
    this.#beatMs = beatMs
    this.#node = node
    this.#host = host
    this.#key = node.keys.registry
  }

  get id (): string { return this.#id }
  get listed (): ReadonlySet<string> { return this.#listed }

  /** How long a silent node is waited for, ms. */
  get patience (): number { return Math.max(LEASE_BEATS * this.#beatMs, this.#grace) }

  /** Keeps the longest grace of all topics. */
  raiseGrace (ms: number): void {
    this.#grace = Math.max(this.#grace, ms)
  }

  /** @throws what Redis answers */
  async beat (): Promise<void> {
    this.#beating ??= this.#beat().finally(() => { this.#beating = undefined })
    await this.#beating
  }

  async #beat (): Promise<void> {
    if (this.#state === 'closed') return
    const all = await this.#say(this.#state === 'new' ? 'new' : '')
    if (this.#isClosed) return
    if (!all) return await this.#renew()
    this.#state = 'registered'
    this.#listed = new Set(all.map(([node]) => node))
    for (const [node, value] of this.#due(all, performance.now())) await this.#bury(node, value)
  }

  async #say (how: 'new' | ''): Promise<Array<[string, string]> | undefined> {
    const { commands } = this.#node
    const answer = await commands.run(BEAT, [this.#key], [this.#id, String(this.#grace), String(LIFE_MS), how])
    return answer ? pairs(answer as Buffer[]) : undefined
  }

  /** This node was taken for dead, or Redis has lost it. It takes another name. */
  async #renew (): Promise<void> {
    this.#renewing ??= this.#takeAnotherName().finally(() => { this.#renewing = undefined })
    await this.#renewing
  }

  async #takeAnotherName (): Promise<void> {
    if (this.#isClosed) return
    const old = this.#id
    this.#id = newNode()
    this.#state = 'new'
    try {
      const all = await this.#say('new')
      if (all && !this.#isClosed) this.#state = 'registered'
    } finally {
      // Even if Redis did not answer: what this node holds must be said under the new name as soon as possible.
      if (!this.#isClosed) this.#host.renewed(old)
    }
  }

  /** @throws what Redis answers */
  async ensure (): Promise<void> {
    if (this.#state === 'new') await this.beat()
  }

  /** False if this node was taken for dead. It has a new name then. */
  async index (topic: string): Promise<boolean> {
    const { commands } = this.#node
    const id = this.#id
    const there = await commands.run(INDEX, [this.#key, this.#topicsOf(id)], [id, topic, String(LIFE_MS)])
    if (Number(there) === 1) return true
    await this.died(id)
    return false
  }

  /** This node holds no member of the topic any more. Later commands arrive after this one. */
  unindex (topic: string): void {
    this.#node.commands.run(UNINDEX, [this.#topicsOf(this.#id)], [topic]).catch(() => {})
  }

  /** The node with this name was taken for dead. Many topics may report this at once. */
  async died (node: string): Promise<void> {
    if (this.#beating) await this.#beating
    if (node === this.#id) await this.#renew()
  }

  get #isClosed (): boolean { return this.#state === 'closed' }

  // --- the others ------------------------------------------------------------------------

  #due (all: ReadonlyArray<[string, string]>, now: number): Array<[string, string]> {
    const since = now - this.#looked
    if (since < SOON * this.#beatMs) return []
    this.#looked = now
    if (since > LATE * this.#beatMs) this.#startOver(now)
    for (const node of this.#seen.keys()) if (!all.some(([other]) => other === node)) this.#seen.delete(node)
    const due = all.filter(([node, value]) => node !== this.#id && this.#see(node, value))
    return now < this.#blindUntil ? [] : due
  }

  #startOver (now: number): void {
    this.#seen.clear()
    this.#blindUntil = now + LEASE_BEATS * this.#beatMs
  }

  /** True if the node's value has not changed for long enough. */
  #see (node: string, value: string): boolean {
    const seen = this.#seen.get(node)
    if (seen?.value !== value) {
      this.#seen.set(node, { value, times: 0 })
      return false
    }
    seen.times++
    const grace = Number(/(\d+)$/.exec(value)?.[1] ?? 0)
    return seen.times >= Math.max(LEASE_BEATS, Math.ceil(grace / this.#beatMs))
  }

  async #bury (node: string, value: string): Promise<void> {
    const [, steps = '0', reason = 'lost'] = /^x(\d+) \S+ (left|lost) /.exec(value) ?? []
    const grave = new Grave(this.#node, this.#key, this.#topicsOf(node), node, reason as EndReason, this.#id)
    if (!await grave.mark(value, Number(steps) + 1)) return
    this.#seen.delete(node)
    // Not awaited, because this node's own beat must go on.
    this.#host.reap(grave).then(async () => await grave.forget()).catch(() => {})
  }

  /** Reaps this node's own old name, or a name that is not in the registry. */
  async buryNow (node: string, topics?: readonly string[]): Promise<void> {
    const grave = new Grave(this.#node, this.#key, this.#topicsOf(node), node, 'lost', this.#id, topics)
    await grave.mark('*', 1)
    await this.#host.reap(grave)
    await grave.forget()
  }

  #topicsOf (node: string): string {
    return `${this.#key}:t:${node}`
  }

  /** Marks this node as left. Its members stay for the grace, in which another node may take them over. */
  async close (): Promise<void> {
    const registered = this.#state === 'registered'
    this.#state = 'closed'
    if (!registered) return
    await this.#node.commands.run(MARK, [this.#key], [this.#id, '*', `x0 - left ${this.#grace}`]).catch(() => {})
  }
}

class Grave implements Dead {
  readonly node: string
  readonly reason: EndReason
  readonly #redis: RedisNode
  readonly #registry: string
  readonly #topics: string
  readonly #reaper: string
  #value = ''
  #steps = 0

  readonly #known: readonly string[]

  /** `known`: topics that may be missing from the node's topics in Redis. */
  constructor (
    redis: RedisNode, registry: string, topics: string, node: string, reason: EndReason, reaper: string,
    known: readonly string[] = []
  ) {
    this.#known = known
    this.#redis = redis
    this.#registry = registry
    this.#topics = topics
    this.node = node
    this.reason = reason
    this.#reaper = reaper
  }

  async mark (before: string, steps: number): Promise<boolean> {
    const value = `x${steps} ${this.#reaper} ${this.reason} 0`
    const marked = await this.#redis.commands.run(MARK, [this.#registry], [this.node, before, value])
    if (Number(marked) !== 1) return false
    this.#value = value
    this.#steps = steps
    return true
  }

  async step (): Promise<boolean> {
    return await this.mark(this.#value, this.#steps + 1)
  }

  async * topics (): AsyncGenerator<readonly string[]> {
    yield this.#known
    for (let place = '0'; ;) {
      const args = [place, String(TOPICS_AT_ONCE)]
      const [next, ...topics] = await this.#redis.commands.run(TOPICS, [this.#topics], args) as Buffer[]
      yield topics.map(String)
      place = String(next)
      if (place === '0') return
    }
  }

  async forget (): Promise<void> {
    await this.#redis.commands.run(FORGET, [this.#registry, this.#topics], [this.node, this.#value])
  }
}

/** Each name is used once, so that what was said under an old name is never taken for a new one's. */
function newNode (): string {
  return randomId()
}

function pairs (flat: readonly Buffer[]): Array<[string, string]> {
  return flat.flatMap((key, i) => i % 2 === 0 ? [[String(key), String(flat[i + 1])] as [string, string]] : [])
}
