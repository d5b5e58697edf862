/** Commands to the masters of a cluster. */
import type { Cluster, Redis } from 'ioredis'
import { Unavailable } from '../../errors.ts'
import { answerOf, evaluate, type Argument, type Commands, type CommandsHost } from './commands.ts'
import { cleanerOf, type Clean } from './driver-error.ts'
import { guardCluster } from './ioredis-internals.ts'
import { retryDelay } from './link.ts'
import type { Script } from './lua.ts'
import { identityOf, inspect } from './server-identity.ts'

/** GETs that are sent at once. */
const GET_KEYS = 100
/** How often the cluster is asked which master has which slots. */
const SLOTS_MS = 5000
/** Identities of servers that are remembered. */
const MAX_KNOWN = 256

export class ClusterCommands implements Commands {
  readonly cluster = true
  readonly server = '-'
  readonly #cluster: Cluster
  readonly #host: CommandsHost
  readonly #clean: Clean
  up = false
  #why: Error | undefined
  #identity: string | undefined
  #slots: NodeJS.Timeout | undefined
  #looking = false
  #closed = false

  constructor (cluster: Cluster, host: CommandsHost) {
    this.#cluster = guardCluster(cluster)
    this.#host = host
    this.#clean = cleanerOf(cluster)
    cluster.on('error', (error: unknown) => { this.#why = this.#clean(error) })
    cluster.on('node error', (error: unknown) => { this.#why = this.#clean(error) })
    cluster.on('ready', () => {
      this.#change(true)
      this.tick()
    })
    // A new server, or one that is back, may lack events that were acknowledged.
    cluster.on('+node', (node: Redis) => node.on('ready', () => this.tick()))
    cluster.on('close', () => this.#change(false))
    cluster.on('end', () => {
      setTimeout(() => { if (!this.#closed && cluster.status === 'end') this.connect() }, retryDelay(0)).unref()
    })
  }

  get why (): Error { return this.#why ?? new Error('there is no connection to the Redis cluster') }

  connect (): void {
    this.#slots ??= setInterval(() => this.#refreshSlots(), SLOTS_MS).unref()
    this.#cluster.connect().catch((error: unknown) => { this.#why ??= this.#clean(error) })
  }

  run (script: Script, keys: readonly string[], args: readonly Argument[]): Promise<unknown> {
    return evaluate(this.#cluster, this.#clean, script, keys, args)
  }

  /** One GET for each key, because one command cannot read keys of several slots. */
  async get (keys: readonly string[]): Promise<Array<string | null>> {
    const values: Array<string | null> = []
    for (let i = 0; i < keys.length; i += GET_KEYS) {
      values.push(...await this.#ask(Promise.all(keys.slice(i, i + GET_KEYS).map((key) => this.#cluster.get(key)))))
    }
    return values
  }

  async expire (key: string, ms: number): Promise<unknown> {
    return await this.#ask(this.#cluster.pexpire(key, ms, 'GT'))
  }

  async wait (): Promise<number> {
    throw new Unavailable('WAIT has no meaning on a cluster')
  }

  async publish (channel: string, message: string | Buffer): Promise<unknown> {
    return await this.#ask(this.#cluster.spublish(channel, message))
  }

  async listeners (channel: string): Promise<number> {
    // Every master is asked. The one that has the slot gives the count.
    const counts = await this.#ask(Promise.all(this.#cluster.nodes('master').map(async (node) => {
      const [, count] = await node.call('pubsub', 'shardnumsub', channel) as [string, number]
      return Number(count)
    })))
    return Math.max(0, ...counts)
  }

  tick (): void {
    if (!this.up || this.#looking) return
    this.#looking = true
    this.#look().catch(() => {}).finally(() => { this.#looking = false })
  }

  async version (): Promise<string> {
    const [node] = this.#cluster.nodes('master')
    if (!node) throw this.why
    return await this.#ask(inspect(node))
  }

  close (): void {
    this.#closed = true
    clearInterval(this.#slots)
    this.#cluster.disconnect()
  }

  #refreshSlots (): void {
    // Errors arrive as 'node error'.
    this.#cluster.refreshSlotsCache(() => {})
  }

  async #ask<T> (answer: Promise<T>): Promise<T> {
    return await answerOf(answer, this.#clean)
  }

  #change (up: boolean): void {
    if (this.#closed || up === this.up) return
    this.up = up
    this.#host.changed(up, up ? undefined : this.why)
  }

  /** Masters that do not answer are skipped. If one is replaced, its successor is seen later. */
  async #look (): Promise<void> {
    const infos = await Promise.allSettled(this.#cluster.nodes('master').map(inspect))
    const known = infos.flatMap((info) => info.status === 'fulfilled' ? [identityOf(info.value)] : [])
    if (known.length === 0) return
    const before = new Set(this.#identity?.split(' '))
    const added = known.filter((one) => !before.has(one))
    if (this.#identity !== undefined && added.length > 0) await this.#host.replaced(added.sort().join(' '))
    // Keeps the identities of masters that did not answer: they are not new when they are back.
    this.#identity = [...new Set([...before, ...known])].slice(-MAX_KNOWN).join(' ')
  }
}
