/** Drives test/helpers/storm.mjs: clients by the thousand, in several processes and on several loopback addresses. */
import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'

export interface StormGroup { kind: 'sse' | 'websocket', path: string, topics: string[], count: number }

/** What the server told a client at the end. */
export interface Farewell { kind: 'sse' | 'websocket', retry: number | undefined, bye: { code: number, reconnect: boolean } | undefined }

type Report = Record<string, unknown>

export class Storm {
  readonly #children: ChildProcess[]

  constructor (processes: number) {
    this.#children = Array.from({ length: processes }, () => fork(new URL('./storm.mjs', import.meta.url), { execArgv: [], env: {} }))
  }

  /** Resolves when every client is live. Counts are for all processes together. */
  async open (options: { port: number, groups: StormGroup[], first?: number }): Promise<void> {
    const processes = this.#children.length
    await this.#askEach('opened', (index) => ({
      do: 'open',
      first: 0,
      ...options,
      // Ports are per address. Linux has all of 127/8; elsewhere one address has to do.
      address: process.platform === 'linux' ? `127.0.0.${index + 2}` : undefined,
      groups: options.groups.map((group) => ({ ...group, count: share(group.count, index, processes) }))
    }))
  }

  /** Every client is cut, and comes back at once. */
  async cut (): Promise<void> {
    await this.#askEach('cut', () => ({ do: 'cut' }))
  }

  /** Resolves when every client has been opened so many times. */
  async openings (count: number): Promise<void> {
    await this.#askEach('openings', () => ({ do: 'openings', count }))
  }

  /** Resolves when every client that is here has had so many events of each of its topics, in order and each once. */
  async expect (count: number): Promise<void> {
    await this.#askEach('expected', () => ({ do: 'expect', count }))
  }

  /** So many more leave, and stay away until `back`. */
  async leave (count: number): Promise<void> {
    await this.#askEach('left', (index) => ({ do: 'leave', count: share(count, index, this.#children.length) }))
  }

  async back (): Promise<void> {
    await this.#askEach('back', () => ({ do: 'back' }))
  }

  /** To be called before the server closes; resolves when it has ended every client. */
  async farewell (): Promise<Farewell[]> {
    const reports = await this.#askEach('farewells', () => ({ do: 'farewell' }))
    return reports.flatMap(({ farewells }) => farewells as Farewell[])
  }

  async end (): Promise<void> {
    await Promise.all(this.#children.map(async (child) => {
      if (child.exitCode !== null || child.signalCode !== null) return
      if (child.connected) child.disconnect()
      await once(child, 'exit')
    }))
  }

  async #askEach (answer: string, message: (index: number) => object): Promise<Report[]> {
    return await Promise.all(this.#children.map(async (child, index) => {
      child.send(message(index))
      const report = await nextReport(child)
      if (report[answer] === undefined) throw new Error(String(report.fault ?? `unexpected: ${JSON.stringify(report)}`))
      return report
    }))
  }
}

async function nextReport (child: ChildProcess): Promise<Report> {
  const ended = new AbortController()
  const exit = once(child, 'exit', { signal: ended.signal }).then(([code]) => ({ fault: `a process of clients ended (${String(code)})` }), () => ({}))
  try {
    return await Promise.race([once(child, 'message', { signal: ended.signal }).then(([report]) => report as Report), exit])
  } finally {
    ended.abort()
  }
}

/** The nth of so many parts of a whole. */
function share (whole: number, index: number, parts: number): number {
  return Math.floor(whole * (index + 1) / parts) - Math.floor(whole * index / parts)
}
