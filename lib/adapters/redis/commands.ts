/** The way commands go: to one server (single-commands.ts), or to the masters of a cluster (cluster-commands.ts). */
import type { Cluster, Redis } from 'ioredis'
import type { Clean } from './driver-error.ts'
import type { Script } from './lua.ts'

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
  /** It lives so long at least. */
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

export async function evaluate (
  client: Client, clean: Clean, { lua, sha }: Script, keys: readonly string[], args: readonly Argument[]
): Promise<unknown> {
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

/** Of the driver's errors only what may be told. */
export async function answerOf<T> (answer: Promise<T>, clean: Clean): Promise<T> {
  try {
    return await answer
  } catch (error) {
    throw clean(error)
  }
}
