/** The way commands go: to one server (also one that Sentinel names), or to the masters of a cluster. */
import type { Cluster, Redis } from 'ioredis'
import { Unavailable } from '../../errors.ts'
import { cleanerOf, type Clean } from './driver-error.ts'
import { guardCluster } from './ioredis-internals.ts'
import { Link, retryDelay } from './link.ts'
import type { Script } from './scripts.ts'

export type Argument = string | Buffer | number

export interface CommandsHost {
  /** Another server answers than before, or the same after a restart: acknowledged events may be missing there. */
  readonly replaced: (identity: string) => Promise<void>
  readonly changed: (up: boolean, why: Error | undefined) => void
}

export interface Commands {
  readonly up: boolean
  readonly why: Error
  readonly cluster: boolean
  /** Which process answers; '-' where there are several. */
  readonly server: string
  connect (): void
  run (script: Script, keys: readonly string[], args: readonly Argument[]): Promise<unknown>
  /** Of each key its value, or null. */
  get (keys: readonly string[]): Promise<Array<string | null>>
  expire (key: string, ms: number): Promise<unknown>
  /** Replicas that have all that was written over this connection. */
  wait (replicas: number, ms: number): Promise<number>
  publish (channel: string, message: string | Buffer): Promise<unknown>
  /** Nodes that listen to a channel. */
  listeners (channel: string): Promise<number>
  /** A sign of life, and a look at who answers. Every few seconds. */
  tick (): void
  version (): Promise<string>
  close (): void
}

type Client = Redis | Cluster

/** Of a `run_id`: enough to tell servers apart. */
const SERVER_CHARS = 12

/** Keys of one MGET. */
const GET_KEYS = 500

async function evaluate (client: Client, clean: Clean, { lua, sha }: Script, keys: readonly string[], args: readonly Argument[]): Promise<unknown> {
  const command = [sha, String(keys.length), ...keys, ...args]
  try {
    return await client.callBuffer('evalsha', command)
  } catch (error) {
    const cleaned = clean(error)
    // A server that was restarted has forgotten its scripts.
    if (!cleaned.message.startsWith('NOSCRIPT')) throw cleaned
    return await answerOf(client.callBuffer('eval', [lua, ...command.slice(1)]), clean)
  }
}

async function answerOf<T> (answer: Promise<T>, clean: Clean): Promise<T> {
  try {
    return await answer
  } catch (error) {
    throw clean(error)
  }
}

/** `run_id` changes with a restart, `master_replid` with a failover. */
function identityOf (info: string): string {
  const field = (name: string): string => new RegExp(`^${name}:(.*?)\r?$`, 'm').exec(info)?.[1] ?? ''
  return `${field('run_id')}:${field('master_replid')}`
}

async function inspect (redis: Redis): Promise<string> {
  return await redis.call('info', 'server', 'replication') as string
}

export class SingleCommands implements Commands {
  readonly cluster = false
  server = '-'
  readonly #link: Link
  readonly #host: CommandsHost
  #identity: string | undefined
  #looking = false

  constructor (redis: Redis, host: CommandsHost) {
    this.#host = host
    this.#link = new Link(redis, { prepare: async () => { await this.#look() }, changed: host.changed })
  }

  get up (): boolean { return this.#link.up }
  get why (): Error { return this.#link.why }

  connect (): void {
    this.#link.connect()
  }

  run (script: Script, keys: readonly string[], args: readonly Argument[]): Promise<unknown> {
    return evaluate(this.#link.redis, this.#link.clean, script, keys, args)
  }

  async get (keys: readonly string[]): Promise<Array<string | null>> {
    const values: Array<string | null> = []
    for (let i = 0; i < keys.length; i += GET_KEYS) values.push(...await this.#ask(this.#link.redis.mget(keys.slice(i, i + GET_KEYS))))
    return values
  }

  async expire (key: string, ms: number): Promise<unknown> {
    return await this.#ask(this.#link.redis.pexpire(key, ms))
  }

  async wait (replicas: number, ms: number): Promise<number> {
    return Number(await this.#ask(this.#link.redis.call('wait', String(replicas), String(ms))))
  }

  async publish (channel: string, message: string | Buffer): Promise<unknown> {
    return await this.#ask(this.#link.redis.publish(channel, message))
  }

  async listeners (channel: string): Promise<number> {
    const [, count] = await this.#ask(this.#link.redis.call('pubsub', 'numsub', channel)) as [string, number]
    return Number(count)
  }

  tick (): void {
    if (!this.up || this.#looking) return
    this.#looking = true
    this.#look().catch(() => {}).finally(() => { this.#looking = false })
  }

  async version (): Promise<string> {
    return await this.#ask(inspect(this.#link.redis))
  }

  close (): void {
    this.#link.close()
  }

  async #ask<T> (answer: Promise<T>): Promise<T> {
    return await answerOf(answer, this.#link.clean)
  }

  async #look (): Promise<void> {
    const identity = identityOf(await inspect(this.#link.redis))
    this.server = identity.slice(0, SERVER_CHARS) || '-'
    if (this.#identity !== undefined && identity !== this.#identity) await this.#host.replaced(identity)
    this.#identity = identity
  }
}

export class ClusterCommands implements Commands {
  readonly cluster = true
  readonly server = '-'
  readonly #cluster: Cluster
  readonly #host: CommandsHost
  readonly #clean: Clean
  up = false
  #why: Error | undefined
  #identity: string | undefined
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
    // Another server, or one that is back: are the events there that were acknowledged?
    cluster.on('+node', (node: Redis) => node.on('ready', () => this.tick()))
    cluster.on('close', () => this.#change(false))
    cluster.on('end', () => {
      setTimeout(() => { if (!this.#closed && cluster.status === 'end') this.connect() }, retryDelay(0)).unref()
    })
  }

  get why (): Error { return this.#why ?? new Error('there is no connection to the Redis cluster') }

  connect (): void {
    this.#cluster.connect().catch((error: unknown) => { this.#why ??= this.#clean(error) })
  }

  run (script: Script, keys: readonly string[], args: readonly Argument[]): Promise<unknown> {
    return evaluate(this.#cluster, this.#clean, script, keys, args)
  }

  /** A key at a time: keys of several slots cannot be asked for together. */
  async get (keys: readonly string[]): Promise<Array<string | null>> {
    const values: Array<string | null> = []
    for (let i = 0; i < keys.length; i += GET_KEYS / 5) {
      values.push(...await this.#ask(Promise.all(keys.slice(i, i + GET_KEYS / 5).map((key) => this.#cluster.get(key)))))
    }
    return values
  }

  async expire (key: string, ms: number): Promise<unknown> {
    return await this.#ask(this.#cluster.pexpire(key, ms))
  }

  async wait (): Promise<number> {
    throw new Unavailable('WAIT has no meaning on a cluster')
  }

  async publish (channel: string, message: string | Buffer): Promise<unknown> {
    return await this.#ask(this.#cluster.spublish(channel, message))
  }

  async listeners (channel: string): Promise<number> {
    // Asked of every master: the one that has the slot knows.
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
    this.#cluster.disconnect()
  }

  async #ask<T> (answer: Promise<T>): Promise<T> {
    return await answerOf(answer, this.#clean)
  }

  #change (up: boolean): void {
    if (this.#closed || up === this.up) return
    this.up = up
    this.#host.changed(up, up ? undefined : this.why)
  }

  /** A master that does not answer is not missed here: its successor will be seen. */
  async #look (): Promise<void> {
    const infos = await Promise.allSettled(this.#cluster.nodes('master').map(inspect))
    const known = infos.flatMap((info) => info.status === 'fulfilled' ? [identityOf(info.value)] : [])
    if (known.length === 0) return
    const before = new Set(this.#identity?.split(' '))
    const added = known.filter((one) => !before.has(one))
    if (this.#identity !== undefined && added.length > 0) await this.#host.replaced(added.sort().join(' '))
    // Those of masters that are away for a moment stay known.
    this.#identity = [...new Set([...before, ...known])].slice(-256).join(' ')
  }
}
