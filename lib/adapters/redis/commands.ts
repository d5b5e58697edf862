/**
 * The connection for commands: to one server (single-commands.ts), or to the masters of a cluster
 * (cluster-commands.ts).
 */
import type { Cluster, Redis } from 'ioredis'
import type { Clean } from './driver-error.ts'
import type { Script } from './lua.ts'

export type Argument = string | Buffer | number

export interface CommandsHost {
  /** Another server answers than before, or it was restarted. It may lack events that were acknowledged. */
  readonly replaced: (identity: string) => Promise<void>
  readonly changed: (up: boolean, why: Error | undefined) => void
}

export interface Commands {
  readonly up: boolean
  readonly why: Error
  readonly cluster: boolean
  /** Which server process answers; '-' on a cluster. */
  readonly server: string
  connect (): void
  run (script: Script, keys: readonly string[], args: readonly Argument[]): Promise<unknown>
  /** Resolves with the value of each key, or null. */
  get (keys: readonly string[]): Promise<Array<string | null>>
  /** Raises the key's time to live to `ms`. It never shortens it. */
  expire (key: string, ms: number): Promise<unknown>
  /** Resolves with the number of replicas that have all writes of this connection. */
  wait (replicas: number, ms: number): Promise<number>
  publish (channel: string, message: string | Buffer): Promise<unknown>
  /** Resolves with the number of nodes that listen to a channel. */
  listeners (channel: string): Promise<number>
  /** Checks the connection, and which server answers. Called every few seconds. */
  tick (): void
  version (): Promise<string>
  close (): void
}

type Client = Redis | Cluster

export async function evaluate (
  client: Client, clean: Clean, { lua, sha }: Script, keys: readonly string[], args: readonly Argument[]
): Promise<unknown> {
  const command = [sha, String(keys.length), ...keys, ...args]
  try {
    return await client.callBuffer('evalsha', command)
  } catch (error) {
    const cleaned = clean(error)
    // A restarted server does not have the script any more.
    if (!cleaned.message.startsWith('NOSCRIPT')) throw cleaned
    return await answerOf(client.callBuffer('eval', [lua, ...command.slice(1)]), clean)
  }
}

/** Waits for an answer. An error of the driver is thrown without its secrets. */
export async function answerOf<T> (answer: Promise<T>, clean: Clean): Promise<T> {
  try {
    return await answer
  } catch (error) {
    throw clean(error)
  }
}
