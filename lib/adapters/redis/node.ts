/** This node at its Redis: the way there, what keys are called there, and names that no other node uses. */
import { randomId } from '../../core/id.ts'
import type { Commands } from './commands.ts'
import { Keys } from './keys.ts'

/** 48 bits tell nodes apart. No more: it is part of every event's id, and a cursor holds only so many bytes of ids. */
const NODE_CHARS = 8

export class RedisNode {
  readonly id = randomId().slice(0, NODE_CHARS)
  readonly commands: Commands
  readonly keys: Keys
  /** How a script tells of what it did. */
  readonly announce: 'PUBLISH' | 'SPUBLISH'
  #nonces = 0

  constructor (commands: Commands, prefix: string) {
    this.commands = commands
    this.keys = new Keys(prefix)
    this.announce = commands.cluster ? 'SPUBLISH' : 'PUBLISH'
  }

  /** Another one at each call. */
  nonce (): string {
    return `${this.id}-${(this.#nonces++).toString(36)}`
  }
}
