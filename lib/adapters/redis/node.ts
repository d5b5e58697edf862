/** What the adapter's parts share about this node: its commands, its keys, and names that no other node uses. */
import { randomId } from '../../core/id.ts'
import type { Commands } from './commands.ts'
import { Keys } from './keys.ts'

/** 48 bits tell nodes apart. No more: this is part of every event's id, and a cursor has a limit in bytes. */
const NODE_CHARS = 8

export class RedisNode {
  readonly id = randomId().slice(0, NODE_CHARS)
  readonly commands: Commands
  readonly keys: Keys
  /** The command by which scripts announce events. */
  readonly announce: 'PUBLISH' | 'SPUBLISH'
  #nonces = 0

  constructor (commands: Commands, prefix: string) {
    this.commands = commands
    this.keys = new Keys(prefix)
    this.announce = commands.cluster ? 'SPUBLISH' : 'PUBLISH'
  }

  /** Returns another nonce at each call. */
  nonce (): string {
    return `${this.id}-${(this.#nonces++).toString(36)}`
  }
}
