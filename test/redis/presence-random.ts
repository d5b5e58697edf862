/**
 * One schedule of presence on Redis: people with several tabs on several nodes, that come, go and reload; nodes that
 * stand still, leave and start; a Redis that forgets. At each quiet point every node's list, and every watcher's, is the
 * model's; and over the whole run no watcher is told of a join or leave that nobody made.
 */
import { strict as assert } from 'node:assert'
import type { FastifyInstance } from 'fastify'
import Fastify from 'fastify'
import type { Redis } from 'ioredis'
import realtime, { type Topic } from '../../lib/index.ts'
import { redis } from '../../lib/adapters/redis/index.ts'
import { connectChannel, type ChannelClient } from '../../lib/testing/index.ts'
import type { Teardown } from '../helpers/redis.ts'
import { Roster } from '../helpers/roster.ts'
import type { Random } from '../random/random.ts'
import { PresenceAuditor } from './presence-auditor.ts'
import { FaultProxy } from './proxy.ts'

const BEAT_MS = 200
const QUIET_MS = 20_000
/** A connection that is open has been told to Redis by then: until it is, one that leaves elsewhere is the last. */
const KNOWN_MS = 400
const NODES = 3
const PEOPLE = ['ada', 'bob', 'carl', 'dora', 'emil']
const STAYER = 'stayer'

interface Tab { readonly user: string, readonly client: ChannelClient, readonly since: number, over: boolean }

class PresenceNode {
  readonly app: FastifyInstance
  readonly proxy: FaultProxy
  readonly topic: Topic
  readonly roster: Roster
  readonly watcher: ChannelClient
  readonly tabs: Tab[] = []
  frozen = false
  /** Until then (performance.now) others may reap it, who took it for dead while it stood still. */
  doubtfulUntil = 0
  #closed = false
  readonly #watching: Promise<void>

  constructor (app: FastifyInstance, proxy: FaultProxy, topic: Topic, watcher: ChannelClient) {
    this.app = app
    this.proxy = proxy
    this.topic = topic
    this.roster = new Roster(watcher)
    this.watcher = watcher
    this.#watching = this.#watch(watcher)
  }

  /** Sent away, it comes back from where it was, as clients do. */
  async #watch (watcher: ChannelClient): Promise<void> {
    while (!this.#closed) {
      await watcher.ended
      await new Promise((resolve) => setTimeout(resolve, 20))
      if (!this.#closed) await watcher.resume().catch(() => {})
    }
    await watcher.drop()
  }

  async close (): Promise<void> {
    this.#closed = true
    this.proxy.door = 'open'
    if (this.frozen) this.proxy.cut()
    await Promise.all(this.tabs.splice(0).map(async ({ client }) => await client.drop()))
    await this.app.close()
    await this.#watching
    this.proxy.close()
  }
}

export interface PresenceWorld {
  readonly port: number
  readonly prefix: string
  readonly stranger: Redis
  readonly t: Teardown
  /** Fewer than there are people: which of them are shown is not said, but how many, and the same ones everywhere. */
  readonly maxMembers?: number
}

export class PresenceSchedule {
  readonly #world: PresenceWorld
  readonly #random: Random
  readonly #auditor = new PresenceAuditor()
  #nodes: PresenceNode[] = []
  /** What those were told that have closed. */
  readonly #heard: Array<ChannelClient['events']> = []
  /** True: what was told was judged, since this process never stood still for long. */
  audited = false
  checks = 0
  readonly said: string[] = []

  constructor (world: PresenceWorld, random: Random) {
    this.#world = world
    this.#random = random
  }

  async run (steps: number): Promise<void> {
    const stall = watchStalls()
    try {
      await this.#play(steps, stall)
    } finally {
      stall.end()
    }
  }

  async #play (steps: number, stall: Stalls): Promise<void> {
    for (let i = 0; i < NODES; i++) this.#nodes.push(await this.#startNode())
    await this.#join(this.#first, STAYER)
    for (let i = 0; i < steps; i++) {
      await this.#step()
      this.#look()
      if (this.#random.chance(0.08)) await this.#quiet()
    }
    await this.#quiet()
    // On a busy machine all of them may have stood still, and be taken for dead for it. Where there is no room for
    // everybody, those who lose their place to a Redis that forgets are seen to leave.
    if (stall.longest() > BEAT_MS || this.#world.maxMembers !== undefined) return
    this.audited = true
    for (const events of [...this.#heard, ...this.#nodes.map(({ watcher }) => watcher.events)]) {
      assert.deepEqual(this.#auditor.faults(events, 'rooms/1'), [], `joins and leaves that nobody made:\n${this.said.join('\n')}`)
    }
  }

  /** Whoever has a connection on a node that Redis hears, of which Redis has heard. */
  #look (): void {
    const since = performance.now() - KNOWN_MS
    const sound = this.#nodes.filter(({ frozen, doubtfulUntil }) => !frozen && performance.now() > doubtfulUntil).flatMap(({ tabs }) => tabs)
    this.#auditor.look(new Set(sound.filter((tab) => !tab.over && tab.since < since).map(({ user }) => user)))
  }

  async close (): Promise<void> {
    await Promise.all(this.#nodes.splice(0).map(async (node) => await node.close()))
  }

  get #first (): PresenceNode { return this.#nodes[0] as PresenceNode }

  async #startNode (): Promise<PresenceNode> {
    const { t, port, prefix, maxMembers } = this.#world
    const proxy = await FaultProxy.start(t, port)
    const app = Fastify({ forceCloseConnections: true }) as unknown as FastifyInstance
    await app.register(realtime, {
      adapter: redis({ url: proxy.url, prefix, beat: BEAT_MS }),
      closeTimeout: 200,
      identify: (request) => ({ id: String(request.headers.user) })
    })
    const topic = app.topic('rooms/:room', {
      authorize: () => true, presence: { grace: this.#random.pick([0, 150]), ...(maxMembers !== undefined && { maxMembers }) }
    })
    app.channel('/rooms/:room', { topics: topic, presence: true })
    app.channel('/watch/:room', { topics: topic, presence: 'watch' })
    await app.ready()
    const watcher = await connectChannel(app, '/watch/1', { format: 'envelope', headers: { user: 'watcher' } })
    return new PresenceNode(app, proxy, topic as unknown as Topic, watcher)
  }

  async #step (): Promise<void> {
    const random = this.#random
    const roll = random.next()
    if (roll < 0.35) await this.#join(random.pick(this.#awake), random.pick(PEOPLE))
    else if (roll < 0.6) await this.#drop()
    else if (roll < 0.7) await this.#reload()
    else if (roll < 0.78) this.#freeze()
    else if (roll < 0.86) this.#thaw()
    else if (roll < 0.89) await this.#replace()
    else if (roll < 0.93) await this.#forget()
    else if (roll < 0.96) this.#cut()
    else await new Promise((resolve) => setTimeout(resolve, random.int(1, 6 * BEAT_MS)))
  }

  get #awake (): PresenceNode[] { return this.#nodes.filter(({ frozen }) => !frozen) }

  async #join (node: PresenceNode, user: string): Promise<void> {
    if (node.tabs.length > 6) return
    this.said.push(`join ${user}@${this.#nodes.indexOf(node)}`)
    try {
      const client = await connectChannel(node.app, '/rooms/1', { format: 'envelope', headers: { user } })
      const tab = { user, client, since: performance.now(), over: false }
      node.tabs.push(tab)
      this.#look()
      client.ended.then(() => {
        tab.over = true
        this.#look()
      }, () => {})
    } catch (error) {
      // Its Redis is away at this moment.
      if (!/503|1013/.test(String(error))) throw error
    }
  }

  async #drop (): Promise<Tab | undefined> {
    const node = this.#random.pick(this.#nodes)
    const tabs = node.tabs.filter(({ user }) => user !== STAYER)
    if (tabs.length === 0) return undefined
    const tab = this.#random.pick(tabs)
    this.said.push(`drop ${tab.user}@${this.#nodes.indexOf(node)}`)
    node.tabs.splice(node.tabs.indexOf(tab), 1)
    this.#look()
    await tab.client.drop()
    return tab
  }

  /** Often on another node. */
  async #reload (): Promise<void> {
    const tab = await this.#drop()
    if (tab) await this.#join(this.#random.pick(this.#awake), tab.user)
  }

  /** Its Redis does not hear from it: to the others it stands still, or is dead. */
  #freeze (): void {
    const node = this.#random.pick(this.#nodes.slice(1))
    if (node.frozen) return
    this.said.push(`freeze ${this.#nodes.indexOf(node)}`)
    node.frozen = true
    this.#look()
    node.proxy.freeze()
    node.proxy.door = 'silent'
  }

  #thaw (): void {
    for (const node of this.#nodes.filter(({ frozen }) => frozen)) {
      this.said.push(`thaw ${this.#nodes.indexOf(node)}`)
      node.frozen = false
      node.doubtfulUntil = performance.now() + 6 * BEAT_MS
      node.proxy.door = 'open'
      node.proxy.cut()
    }
  }

  /** A deploy: one node closes, another starts. */
  async #replace (): Promise<void> {
    const node = this.#random.pick(this.#nodes.slice(1))
    if (node.frozen) return
    this.said.push(`replace ${this.#nodes.indexOf(node)}`)
    const tabs = node.tabs.splice(0)
    this.#look()
    node.tabs.push(...tabs)
    await node.close()
    this.#heard.push(node.watcher.events)
    this.#nodes[this.#nodes.indexOf(node)] = await this.#startNode()
  }

  async #forget (): Promise<void> {
    const topic = `${this.#world.prefix}{realtime:presence/rooms/1}`
    const keys = [`${topic}:state`, `${topic}:head`, `${topic}:nodes`, `${topic}:log`, `${this.#world.prefix}{realtime:nodes}`]
    const gone = this.#random.chance(0.3) ? keys : [this.#random.pick(keys)]
    this.said.push(`forget ${gone.join(' ')}`)
    await this.#world.stranger.del(...gone)
  }

  #cut (): void {
    const node = this.#random.pick(this.#awake)
    this.said.push(`cut ${this.#nodes.indexOf(node)}`)
    node.proxy.cut()
  }

  // --- quiet ---------------------------------------------------------------------------

  /** Connections that their server has closed meanwhile are gone, too. */
  async #quiet (): Promise<void> {
    this.#thaw()
    // Whoever notices nothing by itself notices at the next event.
    await this.#join(this.#first, 'zoe')
    const deadline = performance.now() + QUIET_MS
    for (const node of this.#nodes) {
      for (;;) {
        const wanted = this.#wanted()
        const { members } = await node.topic.presence({ room: '1' }, { limit: 1000 }).catch(() => ({ members: [] }))
        const state = members.map(({ id }) => id)
        if (this.#agree(wanted, state) && same([...state].sort(), node.roster.ids)) break
        if (performance.now() > deadline) {
          throw new Error(`node ${this.#nodes.indexOf(node)}: there are ${wanted.join(' ')}, in Redis ${state.join(' ')}, to its watcher ${node.roster.ids.join(' ')} (${node.roster.heard.join(' ')}; connections ${node.app.realtime.connections().map(({ identity, topics }) => identity.id + topics.length).join(' ')})\n${this.said.join('\n')}`)
        }
        await new Promise((resolve) => setTimeout(resolve, 20))
      }
    }
    this.checks++
    const zoe = this.#first.tabs.findIndex(({ user }) => user === 'zoe')
    if (zoe >= 0) await (this.#first.tabs.splice(zoe, 1)[0] as Tab).client.drop()
  }

  #agree (wanted: readonly string[], state: readonly string[]): boolean {
    const { maxMembers = Infinity } = this.#world
    return state.length === Math.min(wanted.length, maxMembers) && new Set(state).size === state.length &&
      state.every((id) => wanted.includes(id))
  }

  #wanted (): string[] {
    const there = new Set<string>()
    for (const { app } of this.#nodes) {
      for (const { identity, topics } of app.realtime.connections()) if (identity.id !== 'watcher' && topics.length > 0) there.add(identity.id)
    }
    return [...there].sort()
  }
}

interface Stalls { longest (): number, end (): void }

/** How long this process has stood still at most, ms. */
function watchStalls (): Stalls {
  let [longest, last] = [0, performance.now()]
  const timer = setInterval(() => {
    longest = Math.max(longest, performance.now() - last)
    last = performance.now()
  }, 20)
  return { longest: () => longest, end: () => clearInterval(timer) }
}

function same (a: readonly string[], b: readonly string[]): boolean {
  return a.join(' ') === b.join(' ')
}
