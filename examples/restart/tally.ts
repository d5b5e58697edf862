/** What one client heard, and what is to be said of it for a range of events. */

export interface Range { first: number, last: number }

export interface Score {
  published: number
  heard: number
  missed: number
  doubled: number
  /** Heard after one with a higher number. */
  disorder: number
  reconnects: number
  /** Between two events, ms. */
  silence: number
}

export class Tally {
  readonly name: string
  readonly #heard: Array<{ n: number, at: number }> = []
  #reconnects: number[] = []
  #wanted: { last: number, reached: () => void } | undefined

  constructor (name: string) {
    this.name = name
  }

  get last (): number { return this.#heard.at(-1)?.n ?? 0 }

  hear (n: number): void {
    this.#heard.push({ n, at: performance.now() })
    if (this.#wanted && n >= this.#wanted.last) this.#wanted.reached()
  }

  /** It counts with the events that follow. */
  reconnect (): void {
    this.#reconnects.push(this.last + 1)
  }

  /** Resolves when this number, or a later one, was heard; also when that takes too long: what is missing is missed then. */
  reach (last: number, patienceMs: number): Promise<void> {
    return new Promise(resolve => {
      const impatient = setTimeout(resolve, patienceMs)
      const reached = (): void => {
        clearTimeout(impatient)
        resolve()
      }
      this.#wanted = { last, reached }
      if (this.last >= last) reached()
    })
  }

  score ({ first, last }: Range): Score {
    const within = (n: number): boolean => n >= first && n <= last
    const heard = this.#heard.filter(({ n }) => within(n))
    const published = last - first + 1
    const distinct = new Set(heard.map(({ n }) => n)).size
    return {
      published,
      heard: heard.length,
      missed: published - distinct,
      doubled: heard.length - distinct,
      disorder: heard.filter(({ n }, i) => n < (heard[i - 1]?.n ?? 0)).length,
      reconnects: this.#reconnects.filter(within).length,
      silence: Math.round(Math.max(0, ...heard.slice(1).map(({ at }, i) => at - heard[i]!.at)))
    }
  }
}

/** Whether every event was heard, once, and in order. */
export function isPerfect ({ published, heard, missed, doubled, disorder }: Score): boolean {
  return heard === published && missed + doubled + disorder === 0
}

/** Rows of text as columns: the first two to the left, numbers to the right. */
export function table (rows: string[][]): string {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map(row => row[column]!.length)))
  const cells = (row: string[]): string => row
    .map((cell, column) => column < 2 ? cell.padEnd(widths[column]!) : cell.padStart(widths[column]!))
    .join('  ')
  return rows.map(row => cells(row).trimEnd()).join('\n')
}
