/** Real servers on free ports: one, a cluster of three masters, or Sentinel with a replica. Ended with the test. */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Redis } from 'ioredis'

const BIN = process.env.REDIS_SERVER_BIN ?? 'redis-server'
/** Not a speed that is asked for: past it something is wrong. */
const PATIENCE_MS = 20_000

export interface Teardown { teardown (run: () => unknown): void }

export async function freePort (wanted = 0): Promise<number> {
  const server = createServer().listen(wanted, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

/** Ports of which the one 10,000 above is free too (a cluster's bus). */
async function clusterPort (): Promise<number> {
  for (;;) {
    const port = await freePort()
    if (port < 50_000 && await freePort(port + 10_000).catch(() => 0) > 0) return port
  }
}

/** Somebody else may take a port between its choice and its use. */
const TRIES = 5

export async function until (what: string, holds: () => unknown, patience = PATIENCE_MS): Promise<void> {
  const end = performance.now() + patience
  for (;;) {
    let why: unknown
    try {
      if (await holds()) return
    } catch (error) {
      why = error
    }
    if (performance.now() > end) throw new Error(`${what} never came`, { cause: why })
    await sleep(20)
  }
}

export class RedisServer {
  readonly port: number
  readonly #args: string[]
  readonly #folder: string
  #child: ChildProcess | undefined

  private constructor (port: number, args: string[], folder: string) {
    this.port = port
    this.#args = args
    this.#folder = folder
  }

  static async start (t: Teardown, args: string[] = [], findPort = async (): Promise<number> => await freePort()): Promise<RedisServer> {
    for (let tries = 1; ; tries++) {
      const folder = mkdtempSync(join(tmpdir(), 'realtime-redis-'))
      const server = new RedisServer(await findPort(), args, folder)
      t.teardown(async () => {
        await server.kill()
        rmSync(folder, { recursive: true, force: true })
      })
      try {
        await server.up()
        return server
      } catch (error) {
        if (tries === TRIES) throw error
      }
    }
  }

  get url (): string { return `redis://127.0.0.1:${this.port}` }
  get pid (): number { return this.#child?.pid ?? 0 }
  get folder (): string { return this.#folder }

  /** Starts it, again with what it has saved. */
  async up (): Promise<void> {
    for (let tries = 1; !this.#child; tries++) {
      try {
        return await this.#spawn()
      } catch (error) {
        // Its port may be a client's for a moment.
        if (tries === TRIES) throw error
        await sleep(50 * tries)
      }
    }
  }

  async #spawn (): Promise<void> {
    const child = spawn(BIN, ['--port', String(this.port), '--bind', '127.0.0.1', '--dir', this.#folder, '--save', '', '--daemonize', 'no',
      '--enable-debug-command', 'yes', ...this.#args], { stdio: 'ignore' })
    this.#child = child
    child.once('exit', () => { if (this.#child === child) this.#child = undefined })
    await new Promise<void>((resolve, reject) => {
      child.once('error', (error) => reject(new Error(`${BIN} could not be started: install redis-server (7 or newer), or set REDIS_SERVER_BIN`, { cause: error })))
      child.once('spawn', resolve)
    })
    const ended = new Promise<never>((_resolve, reject) => {
      child.once('exit', () => reject(new Error(`redis-server on port ${this.port} ended as soon as it was started`)))
    })
    // It ends at last, when nobody waits for it any more.
    ended.catch(() => {})
    await this.ask(async (redis) => await Promise.race([redis.ping(), ended]))
  }

  signal (name: NodeJS.Signals): void {
    this.#child?.kill(name)
  }

  async kill (): Promise<void> {
    const child = this.#child
    if (!child) return
    child.kill('SIGCONT')
    child.kill('SIGKILL')
    await once(child, 'exit')
  }

  /** Runs something over a connection of its own, as soon as the server answers. */
  async ask<T> (run: (redis: Redis) => Promise<T>): Promise<T> {
    const redis = new Redis({ host: '127.0.0.1', port: this.port, retryStrategy: () => 20, maxRetriesPerRequest: null })
    redis.on('error', () => {})
    try {
      return await run(redis)
    } finally {
      redis.disconnect()
    }
  }
}

const SLOTS = 16_384

export class RedisCluster {
  readonly masters: RedisServer[]
  /** By their masters. */
  readonly replicas = new Map<RedisServer, RedisServer>()

  private constructor (masters: RedisServer[]) {
    this.masters = masters
  }

  static async start (t: Teardown, size = 3, args: string[] = []): Promise<RedisCluster> {
    const cluster = new RedisCluster([])
    for (let i = 0; i < size; i++) cluster.masters.push(await cluster.#server(t, args))
    await cluster.#form()
    return cluster
  }

  async #server (t: Teardown, args: string[]): Promise<RedisServer> {
    return await RedisServer.start(t, ['--cluster-enabled', 'yes', '--cluster-node-timeout', '2000', '--cluster-require-full-coverage', 'no', ...args], clusterPort)
  }

  /** Gives a master a replica, which takes over when the others do not hear of the master any more. */
  async replicate (t: Teardown, master: RedisServer): Promise<RedisServer> {
    const replica = await this.#server(t, ['--repl-diskless-sync-delay', '0'])
    this.replicas.set(master, replica)
    const id = await this.id(master)
    await replica.ask(async (redis) => {
      await redis.call('cluster', 'meet', '127.0.0.1', String(master.port))
      await until('the replica to know its master', async () => (await redis.cluster('NODES') as string).includes(id))
      await until('the replica to be one', async () => await redis.call('cluster', 'replicate', id))
      await until('the replica to have everything', async () => (await redis.info('replication')).includes('master_link_status:up'))
    })
    for (const node of this.masters) {
      await until('the cluster to know it', async () => await node.ask(async (redis) => new RegExp(`:${replica.port}@.* slave ${id}`).test(await redis.cluster('NODES') as string)))
    }
    return replica
  }

  get nodes (): Array<{ host: string, port: number }> {
    return this.masters.map(({ port }) => ({ host: '127.0.0.1', port }))
  }

  async #form (): Promise<void> {
    const { masters } = this
    const share = Math.ceil(SLOTS / masters.length)
    for (const [i, master] of masters.entries()) {
      await master.ask(async (redis) => {
        await redis.call('cluster', 'set-config-epoch', String(i + 1))
        await redis.call('cluster', 'addslotsrange', String(i * share), String(Math.min(SLOTS, (i + 1) * share) - 1))
        if (i > 0) await redis.call('cluster', 'meet', '127.0.0.1', String((masters[0] as RedisServer).port))
      })
    }
    await this.#whole(`cluster_known_nodes:${masters.length}`)
  }

  /** Every master says that the cluster works. */
  async #whole (...words: string[]): Promise<void> {
    const wanted = ['cluster_state:ok', `cluster_slots_assigned:${SLOTS}`, ...words]
    for (const master of this.masters) {
      await until('the cluster', async () => await master.ask(async (redis) => {
        const info = await redis.cluster('INFO') as string
        return wanted.every((word) => info.includes(word))
      }))
    }
  }

  async id (master: RedisServer): Promise<string> {
    return await master.ask(async (redis) => await redis.call('cluster', 'myid') as string)
  }

  async ownerOf (slot: number): Promise<RedisServer> {
    const [first] = this.masters as [RedisServer]
    const ranges = await first.ask(async (redis) => await redis.call('cluster', 'slots')) as Array<[number, number, [string, number]]>
    const port = ranges.find(([start, end]) => slot >= start && slot <= end)?.[2][1]
    const owner = this.masters.find((master) => master.port === port)
    if (!owner) throw new Error(`nobody has slot ${slot}`)
    return owner
  }

  /** Moves a slot with its keys, as resharding does. `pauseMs`: between its steps. */
  async migrate (slot: number, from: RedisServer, to: RedisServer, pauseMs = 0): Promise<void> {
    const [source, target] = [await this.id(from), await this.id(to)]
    await this.#whole()
    await to.ask(async (redis) => await redis.call('cluster', 'setslot', String(slot), 'importing', source))
    await from.ask(async (redis) => await redis.call('cluster', 'setslot', String(slot), 'migrating', target))
    await sleep(pauseMs)
    await from.ask(async (redis) => {
      for (;;) {
        const keys = await redis.call('cluster', 'getkeysinslot', String(slot), '100') as string[]
        if (keys.length === 0) break
        // A master that was killed a moment ago takes no keys before it has heard of the others.
        await redis.call('migrate', '127.0.0.1', String(to.port), '', '0', '5000', 'KEYS', ...keys).catch(async (error: Error) => {
          if (!error.message.includes('CLUSTERDOWN')) throw error
          await this.#whole()
        })
      }
    })
    await sleep(pauseMs)
    for (const node of [to, from, ...this.masters]) {
      await node.ask(async (redis) => await redis.call('cluster', 'setslot', String(slot), 'node', target))
    }
  }
}

export class RedisSentinels {
  readonly name = 'realtime'
  readonly servers: RedisServer[]
  readonly sentinels: Array<{ host: string, port: number }>

  private constructor (servers: RedisServer[], sentinels: Array<{ host: string, port: number }>) {
    this.servers = servers
    this.sentinels = sentinels
  }

  static async start (t: Teardown): Promise<RedisSentinels> {
    const soon = ['--repl-diskless-sync-delay', '0']
    const master = await RedisServer.start(t, soon)
    const replica = await RedisServer.start(t, ['--replicaof', '127.0.0.1', String(master.port), ...soon])
    await until('the replica', async () => await replica.ask(async (redis) => (await redis.info('replication')).includes('master_link_status:up')))
    const sentinels: Array<{ host: string, port: number }> = []
    for (let i = 0; i < 3; i++) sentinels.push({ host: '127.0.0.1', port: await startSentinel(t, master.port) })
    const formed = new RedisSentinels([master, replica], sentinels)
    for (const { port } of sentinels) await until('the sentinels', async () => await formed.#knowsAll(port))
    return formed
  }

  async #knowsAll (port: number): Promise<boolean> {
    const redis = new Redis({ host: '127.0.0.1', port, lazyConnect: true })
    redis.on('error', () => {})
    try {
      const fields = await redis.call('sentinel', 'master', this.name) as string[]
      const value = (key: string): number => Number(fields[fields.indexOf(key) + 1])
      return value('num-slaves') === 1 && value('num-other-sentinels') === 2
    } finally {
      redis.disconnect()
    }
  }
}

async function startSentinel (t: Teardown, masterPort: number): Promise<number> {
  const port = await freePort()
  const folder = mkdtempSync(join(tmpdir(), 'realtime-sentinel-'))
  const file = join(folder, 'sentinel.conf')
  writeFileSync(file, [`port ${port}`, 'bind 127.0.0.1', `dir ${folder}`, `sentinel monitor realtime 127.0.0.1 ${masterPort} 2`,
    'sentinel down-after-milliseconds realtime 800', 'sentinel failover-timeout realtime 4000', ''].join('\n'))
  const child = spawn(BIN, [file, '--sentinel'], { stdio: 'ignore' })
  await once(child, 'spawn')
  t.teardown(async () => {
    if (child.exitCode === null && child.signalCode === null) {
      child.kill('SIGKILL')
      await once(child, 'exit')
    }
    rmSync(folder, { recursive: true, force: true })
  })
  return port
}
