/** Marks on Redis: a sorted set for each space. The scores are the moments. */
import type { Marks } from '../../core/adapter.ts'
import { timeToLive } from './lifetimes.ts'
import type { RedisNode } from './node.ts'
import { MARK, MARKS } from './mark-scripts.ts'
import { orUnavailable } from './unavailable.ts'

export class RedisMarks implements Marks {
  readonly #node: RedisNode

  constructor (node: RedisNode) {
    this.#node = node
  }

  async mark (space: string, key: string, at: number, ms: number, most: number): Promise<boolean> {
    const { commands } = this.#node
    const args = [key, String(at), String(timeToLive(ms)), String(most)]
    return await orUnavailable(async () => Number(await commands.run(MARK, this.#keys(space), args)) === 1)
  }

  async marks (space: string): Promise<ReadonlyMap<string, number>> {
    const { commands } = this.#node
    return await orUnavailable(async () => read(await commands.run(MARKS, this.#keys(space), [])))
  }

  #keys (space: string): string[] {
    return [this.#node.keys.marks(space)]
  }
}

/** Threat: anybody may have written to the set. Entries whose score is not a moment are left out. */
function read (answer: unknown): ReadonlyMap<string, number> {
  const parts = Array.isArray(answer) ? answer.map(String) : []
  const marks = new Map<string, number>()
  for (let i = 0; i + 1 < parts.length; i += 2) {
    const at = Number(parts[i + 1])
    if (Number.isFinite(at) && at > 0) marks.set(parts[i] as string, at)
  }
  return marks
}
