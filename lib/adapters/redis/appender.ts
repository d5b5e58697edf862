/**
 * Turns a batch of the publish queue into one call of APPEND. If asked for, it waits until replicas have the events.
 */
import type { AppendOptions, KeyedBounds } from '../../core/adapter.ts'
import { Unavailable } from '../../errors.ts'
import type { Batch, Ticket } from './batch.ts'
import type { Argument } from './commands.ts'
import { idsOf } from './decode.ts'
import { HEAD_MS, timeToLive } from './lifetimes.ts'
import type { RedisNode } from './node.ts'
import type { RedisSettings } from './options.ts'
import { appendScript, type AppendPolicy } from './append-script.ts'
import type { Script } from './lua.ts'

export class Appender {
  readonly #node: RedisNode
  readonly #wait: RedisSettings['wait']
  /**
   * Scripts by the object that determines them: the bounds of a keyed topic, or else its retention, which topics may
   * share.
   */
  readonly #scripts = new WeakMap<object, Script>()

  constructor (node: RedisNode, wait: RedisSettings['wait']) {
    this.#node = node
    this.#wait = wait
  }

  /** Resolves with the ids, joined by spaces; '' if Redis has a later batch already. */
  async append (topic: string, batch: Batch): Promise<string> {
    const { commands } = this.#node
    if (!commands.up) throw commands.why
    const { tickets } = batch
    const { options } = tickets[0] as Ticket
    const { log, head, mark, owner, state, channel, dedupe } = this.#node.keys.of(topic)
    const { keys, args } = eventArguments(tickets, dedupe)
    const named = [log, head, mark(this.#node.id), owner, ...keys]
    if (options.keyed) named.push(state)
    const ids = await commands.run(this.#script(options), named, [
      ...this.#arguments(batch, channel, options.owner), ...args
    ])
    if (this.#wait) await this.#replicated(this.#wait)
    return idsOf(ids, tickets.length)
  }

  /** The arguments before those of the events. */
  #arguments ({ number, after, oldest }: Batch, channel: string, owner = ''): Argument[] {
    const { id, commands } = this.#node
    return [
      String(number), after === 0 ? '' : String(after), String(oldest), id + number.toString(36), channel, owner,
      this.#node.nonce(), commands.server
    ]
  }

  /** A topic's policy is usually one object, so the script is found by that object. */
  #script (options: AppendOptions): Script {
    const { retention, lifetime, keyed } = options
    if (lifetime !== undefined) return this.#makeScript(options)
    const policy = keyed?.bounds ?? retention
    let script = this.#scripts.get(policy)
    if (!script) {
      script = this.#makeScript(options)
      this.#scripts.set(policy, script)
    }
    return script
  }

  #makeScript ({ retention: { limit, maxAge, maxBytes }, lifetime, keyed }: AppendOptions): Script {
    const life = timeToLive(lifetime ?? maxAge)
    return appendScript({
      limit: whole(limit),
      maxAge: timeToLive(maxAge),
      maxBytes: whole(maxBytes),
      life,
      headLife: Math.max(HEAD_MS, life, timeToLive(keyed?.bounds.lifetime ?? 0)),
      announce: this.#node.announce,
      ...(keyed && { keyed: keyedPolicy(keyed.bounds) })
    })
  }

  async #replicated ({ replicas, timeout }: NonNullable<RedisSettings['wait']>): Promise<void> {
    const copies = await this.#node.commands.wait(replicas, timeout)
    if (copies < replicas) throw new Unavailable(`${copies} of ${replicas} replicas have the event`)
  }
}

/** The arguments that the events add to APPEND, and their dedupe keys. */
function eventArguments (
  tickets: readonly Ticket[], dedupeKey: (key: string) => string
): { keys: string[], args: Argument[] } {
  const keys: string[] = []
  const args: Argument[] = []
  for (const { body, size, options } of tickets) {
    const index = options.dedupe === undefined ? 0 : keys.push(dedupeKey(options.dedupe))
    args.push(index + expected(options), String(size), body)
    if (options.keyed) args.push((options.keyed.change === 'put' ? '+' : '-') + options.key)
  }
  return { keys, args }
}

function keyedPolicy ({ maxKeys, maxBytes, lifetime }: KeyedBounds): NonNullable<AppendPolicy['keyed']> {
  return { maxKeys: whole(maxKeys), maxBytes: whole(maxBytes), lifetime: timeToLive(lifetime) }
}

function expected ({ expect }: AppendOptions): string {
  return expect === undefined ? '' : expect === null ? '-' : `=${expect}`
}

function whole (value: number): number {
  return Math.min(Math.ceil(value), Number.MAX_SAFE_INTEGER)
}
