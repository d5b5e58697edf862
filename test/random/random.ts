/** Numbers that look random and follow from a seed (mulberry32). */
export class Random {
  #state: number

  constructor (seed: number | string) {
    this.#state = typeof seed === 'number' ? seed >>> 0 : hash(seed)
    // Neighbouring seeds start alike: the first numbers are thrown away.
    for (let i = 0; i < 4; i++) this.next()
  }

  /** In [0, 1). */
  next (): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0
    let value = this.#state
    value = Math.imul(value ^ (value >>> 15), value | 1)
    value ^= value + Math.imul(value ^ (value >>> 7), value | 61)
    return ((value ^ (value >>> 14)) >>> 0) / 4294967296
  }

  /** Whole, both ends included. */
  int (min: number, max: number): number {
    return min + Math.floor(this.next() * (max - min + 1))
  }

  chance (probability: number): boolean {
    return this.next() < probability
  }

  pick<T> (items: readonly T[]): T {
    return items[this.int(0, items.length - 1)] as T
  }

  shuffled<T> (items: readonly T[]): T[] {
    const all = [...items]
    for (let i = all.length - 1; i > 0; i--) {
      const j = this.int(0, i)
      const one = all[i] as T
      all[i] = all[j] as T
      all[j] = one
    }
    return all
  }
}

export function hash (text: string): number {
  let value = 0x811c9dc5
  for (let i = 0; i < text.length; i++) value = Math.imul(value ^ text.charCodeAt(i), 0x01000193)
  return value >>> 0
}

/** The seed of this run: from the environment, or another each time. */
export function seedOf (text = process.env.SEED): number {
  return text === undefined ? (Date.now() ^ (process.pid << 8)) >>> 0 : Number(text) >>> 0
}

/** Some turns of the event loop. */
export async function turns (count: number): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve))
}

/** Runs something some turns of the event loop from now. */
export function later (count: number, run: () => void): void {
  if (count <= 0) run()
  else setImmediate(() => later(count - 1, run))
}
