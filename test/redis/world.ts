/** Redis, nodes that are processes of their own, proxies between them, and clients: what a schedule of faults happens to. */
import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync, rmSync, statSync, truncateSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { RedisCluster, RedisSentinels, RedisServer, type Teardown } from '../helpers/redis.ts'
import type { Random } from '../random/random.ts'
import { audit, type Publisher, type Verdict } from './auditor.ts'
import { ChannelListener, StreamListener, type Listener } from './listeners.ts'
import { FaultProxy } from './proxy.ts'

export type Topology = 'single' | 'sentinel' | 'cluster'

export const TOPICS = ['log/a', 'short/b', 'log/c', 'log/quiet']
const SAVED = ['--appendonly', 'yes', '--appendfsync', 'everysec']
const NODES = 3
const PACE_MS = 30
/** Not a speed that is asked for: past all tries something does not heal. */
/** Redis is not away for longer than a few starts take. */
const MOST_STARTS = 5
const HEALED_WITHIN_MS = 3000
const TRIES = 12
const TRACE_LINES = 160

interface Report { port?: number, acks?: Array<[string, number, string]>, lost?: unknown[], crash?: string, log?: string, marked?: string, quiet?: true, stats?: unknown }

class ChaosNode {
  readonly name: string
  readonly child: ChildProcess
  readonly proxies: readonly FaultProxy[]
  readonly publisher: Publisher
  port: number | undefined
  rejected = 0
  readonly #tell: (node: ChaosNode, report: Report) => void

  constructor (name: string, proxies: readonly FaultProxy[], options: object, tell: (node: ChaosNode, report: Report) => void) {
    this.name = name
    this.proxies = proxies
    this.publisher = { name, acknowledged: new Map(), killed: false }
    this.#tell = tell
    this.child = fork(new URL('./node.mjs', import.meta.url), [JSON.stringify({ ...options, name })], { execArgv: [], env: { NODE_ENV: 'production' } })
    this.child.on('message', (report: Report) => this.#heard(report))
  }

  get alive (): boolean { return this.child.exitCode === null && this.child.signalCode === null }

  #heard (report: Report): void {
    if (report.port !== undefined) this.port = report.port
    for (const [topic, n, id] of report.acks ?? []) {
      const numbers = this.publisher.acknowledged.get(topic) ?? new Map<number, string>()
      this.publisher.acknowledged.set(topic, numbers.set(n, id))
    }
    this.rejected += report.lost?.length ?? 0
    this.#tell(this, report)
  }

  send (message: object): void {
    if (this.child.connected) this.child.send(message)
  }

  async kill (): Promise<void> {
    this.publisher.killed = true
    this.port = undefined
    await this.end()
  }

  async end (): Promise<void> {
    if (!this.alive) return
    this.child.kill('SIGKILL')
    await once(this.child, 'exit')
  }
}

export interface WorldOptions {
  readonly topology: Topology
  readonly random: Random
  /** A copy of lib/, for the nodes. */
  readonly lib: string
  readonly t: Teardown
}

export class ChaosWorld {
  readonly topology: Topology
  readonly random: Random
  readonly trace: string[] = []
  readonly nodes: ChaosNode[] = []
  readonly listeners: Listener[] = []
  servers: RedisServer[] = []
  sentinels: RedisSentinels | undefined
  cluster: RedisCluster | undefined
  lossy = false
  readonly prefix = 'chaos:'
  readonly #t: Teardown
  readonly #lib: string
  readonly #publishers: Publisher[] = []
  readonly #started = performance.now()
  readonly #crashes: string[] = []
  #reigns: string | undefined
  #names = 0
  #markers = 0
  #changed: Array<() => void> = []
  readonly #marked = new Set<string>()
  readonly #quiet = new Set<ChaosNode>()

  private constructor ({ topology, random, lib, t }: WorldOptions) {
    this.topology = topology
    this.random = random
    this.#lib = lib
    this.#t = t
  }

  static async open (options: WorldOptions): Promise<ChaosWorld> {
    const world = new ChaosWorld(options)
    await world.#startRedis()
    world.#reigns = await world.#reign()
    await Promise.all(Array.from({ length: NODES }, async () => await world.startNode()))
    world.#startListeners()
    await world.#until('all clients open', () => world.listeners.every(({ opened }) => opened))
    for (const node of world.nodes) node.send({ do: 'go' })
    return world
  }

  note (text: string): void {
    this.trace.push(`${((performance.now() - this.#started) / 1000).toFixed(3)} ${text}`)
    if (this.trace.length > TRACE_LINES * 2) this.trace.splice(0, TRACE_LINES)
  }

  async #startRedis (): Promise<void> {
    if (this.topology === 'single') this.servers = [await RedisServer.start(this.#t, SAVED)]
    else if (this.topology === 'sentinel') {
      this.sentinels = await RedisSentinels.start(this.#t)
      this.servers = this.sentinels.servers
    } else {
      this.cluster = await RedisCluster.start(this.#t, 3, SAVED)
      this.servers = this.cluster.masters
    }
  }

  /** Every server by way of a proxy of this node's own. */
  async #proxies (): Promise<FaultProxy[]> {
    return await Promise.all(this.servers.map(async ({ port }) => await FaultProxy.start(this.#t, port)))
  }

  #adapterOptions (proxies: readonly FaultProxy[]): object {
    const natMap = Object.fromEntries(this.servers.map(({ port }, i) => [`127.0.0.1:${port}`, { host: '127.0.0.1', port: proxies[i]?.port }]))
    const common = { prefix: this.prefix, publishTimeout: 2500, connectTimeout: 4000 }
    if (this.topology === 'single') return { ...common, url: proxies[0]?.url }
    if (this.sentinels) return { ...common, connection: { name: this.sentinels.name, sentinels: this.sentinels.sentinels, natMap } }
    return { ...common, cluster: { nodes: Object.values(natMap), options: { natMap } } }
  }

  async startNode (known?: readonly FaultProxy[], starts = MOST_STARTS): Promise<ChaosNode> {
    const proxies = known ?? await this.#proxies()
    const options = { lib: this.#lib, options: this.#adapterOptions(proxies), topics: TOPICS, pace: PACE_MS, waits: { join: 2000 } }
    const node = new ChaosNode(`n${++this.#names}`, proxies, options, (from, report) => this.#heard(from, report))
    this.nodes.push(node)
    this.#publishers.push(node.publisher)
    this.#t.teardown(async () => await node.end())
    await this.#until(`${node.name} to start`, () => !node.alive || node.port !== undefined)
    if (!node.alive) return await this.#startAgain(node, proxies, starts - 1)
    this.note(`${node.name} listens`)
    return node
  }

  /** A node that finds Redis gone while it starts ends, and says so: whoever looks after it starts it again. */
  async #startAgain (node: ChaosNode, proxies: readonly FaultProxy[], starts: number): Promise<ChaosNode> {
    const index = this.#crashes.findIndex((crash) => crash.startsWith(`${node.name} crashed: FastifyError: not available now`))
    if (index === -1 || starts === 0) throw new Error(`${node.name} did not start\n${this.#crashes.join('\n')}`)
    this.#crashes.splice(index, 1)
    this.nodes.splice(this.nodes.indexOf(node), 1)
    this.#publishers.splice(this.#publishers.indexOf(node.publisher), 1)
    this.note(`${node.name} found Redis gone as it started`)
    return await this.startNode(proxies, starts)
  }

  #heard (node: ChaosNode, { crash, log, marked, quiet, stats }: Report): void {
    if (crash !== undefined) this.#crashes.push(`${node.name} crashed: ${crash}`)
    if (log !== undefined) this.note(`${node.name} ${log}`)
    if (marked !== undefined) this.#marked.add(`${marked} ${node.name}`)
    if (quiet) {
      this.#quiet.add(node)
      this.note(`${node.name} ${JSON.stringify((stats as { adapter?: unknown } | undefined)?.adapter)}`)
    }
    if (crash !== undefined || marked !== undefined || quiet || node.port !== undefined) this.#wake()
  }

  #wake (): void {
    for (const wake of this.#changed.splice(0)) wake()
  }

  async #until (what: string, holds: () => boolean, patience = HEALED_WITHIN_MS * TRIES): Promise<void> {
    const end = performance.now() + patience
    while (!holds()) {
      const left = end - performance.now()
      if (left <= 0) throw new Error(`${what}: never came`)
      let timer: NodeJS.Timeout | undefined
      await new Promise<void>((resolve) => {
        this.#changed.push(resolve)
        timer = setTimeout(resolve, Math.min(left, 200))
      })
      clearTimeout(timer)
    }
  }

  #startListeners (): void {
    const host = {
      port: () => {
        const ports = this.nodes.flatMap(({ port }) => port ?? [])
        return ports[Math.floor(Math.random() * ports.length)]
      },
      heard: () => this.#wake(),
      trace: (text: string) => this.note(text)
    }
    const [a, b, c, quiet] = TOPICS as [string, string, string, string]
    this.listeners.push(
      new StreamListener('stream of a', [a], host), new StreamListener('stream of b', [b], host), new StreamListener('stream of quiet', [quiet], host),
      new StreamListener('stream of all', TOPICS, host), new StreamListener('stream of a, c', [a, c], host),
      new ChannelListener('channel of all', TOPICS, host), new ChannelListener('channel of all too', TOPICS, host), new ChannelListener('channel of b, quiet', [b, quiet], host)
    )
    this.#t.teardown(() => { for (const listener of this.listeners) listener.close() })
    for (const listener of this.listeners) listener.connect()
  }

  get running (): ChaosNode[] {
    return this.nodes.filter(({ publisher }) => !publisher.killed)
  }

  /** Every client hears what every node publishes from now on. */
  async settled (): Promise<void> {
    const began = performance.now()
    for (let tries = 1; ; tries++) {
      const marker = `m${++this.#markers}`
      const nodes = this.running
      for (const node of nodes) node.send({ do: 'mark', marker })
      const missing = (): string[] => [
        ...nodes.flatMap(({ name }) => this.#marked.has(`${marker} ${name}`) ? [] : `${name} has not published`),
        ...this.listeners.flatMap(({ name, topics, markers }) => topics.flatMap((topic) => nodes.flatMap((node) => {
          return markers.has(`${marker} ${node.name} ${topic}`) ? [] : `${name} has not heard ${node.name} in ${topic}`
        })))
      ]
      try {
        await this.#until('healing', () => missing().length === 0, HEALED_WITHIN_MS)
        this.note(`healed after ${Math.round(performance.now() - began)} ms`)
        return
      } catch (error) {
        // A reset may have skipped the marker: the next one must come.
        this.note(`not healed: ${missing().join('; ')}`)
        if (tries === TRIES) throw new Error(`not healed by itself: ${missing().join('; ')}`, { cause: error })
      }
    }
  }

  /** Sentinel may have seen to a failover that nobody planned: it takes a busy machine for a dead one. */
  async #reign (): Promise<string | undefined> {
    if (this.topology !== 'sentinel') return undefined
    const infos = await Promise.all(this.servers.map(async (server) => await server.ask(async (redis) => await redis.info('replication'))))
    return infos.map((info) => /role:master/.test(info) ? /master_replid:(\w+)/.exec(info)?.[1] : '').join()
  }

  async verdict (): Promise<Verdict> {
    if (await this.#reign() !== this.#reigns) this.lossy = true
    for (const node of this.running) node.send({ do: 'stop' })
    await this.#until('publishing to end', () => this.running.every((node) => this.#quiet.has(node)))
    await this.settled()
    this.#quiet.clear()
    for (const node of this.running) node.send({ do: 'stop' })
    await this.#until('publishing to end', () => this.running.every((node) => this.#quiet.has(node)))
    const verdict = audit({ publishers: this.#publishers, clients: this.listeners, lossy: this.lossy, keeps: (topic) => topic.startsWith('log/') })
    verdict.faults.push(...this.#crashes)
    for (const node of this.nodes) if (!node.alive && !node.publisher.killed) verdict.faults.push(`${node.name} died`)
    return verdict
  }

  get rejected (): number {
    return this.nodes.reduce((sum, { rejected }) => sum + rejected, 0)
  }

  get connects (): number {
    return this.listeners.reduce((sum, { connects }) => sum + connects, 0)
  }

  get story (): string {
    return this.trace.slice(-TRACE_LINES).join('\n')
  }
}

/** Its data is gone when it starts again. */
export function wipe (server: RedisServer): void {
  for (const file of readdirSync(server.folder)) if (!file.endsWith('.conf')) rmSync(join(server.folder, file), { recursive: true })
}

/** As after a power failure: the last writes are gone. */
export function tear (server: RedisServer, share: number): void {
  const folder = join(server.folder, 'appendonlydir')
  if (!existsSync(folder)) return
  const file = readdirSync(folder).find((name) => name.endsWith('.incr.aof'))
  if (!file) return
  const path = join(folder, file)
  truncateSync(path, Math.floor(statSync(path).size * (1 - share)))
}

export { sleep }
