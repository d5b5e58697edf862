/** Commands to one server, or to the master that Sentinel names. */
import type { Redis } from 'ioredis'
import { answerOf, evaluate, type Argument, type Commands, type CommandsHost } from './commands.ts'
import { Link } from './link.ts'
import type { Script } from './lua.ts'
import { identityOf, inspect } from './server-identity.ts'

/** Keys of one MGET. */
const GET_KEYS = 500
/** Characters of an identity that are enough to tell servers apart. */
const SERVER_CHARS = 12

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
    for (let i = 0; i < keys.length; i += GET_KEYS) {
      values.push(...await this.#ask(this.#link.redis.mget(keys.slice(i, i + GET_KEYS))))
    }
    return values
  }

  async expire (key: string, ms: number): Promise<unknown> {
    return await this.#ask(this.#link.redis.pexpire(key, ms, 'GT'))
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
