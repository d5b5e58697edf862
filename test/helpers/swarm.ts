/** Drives test/helpers/swarm.mjs: many clients in another process, so that they do not share the server's memory and loop. */
import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'

interface Report { opened?: number, done?: number, left?: number, stalled?: number, fault?: string }

export class Swarm {
  readonly #child: ChildProcess

  constructor () {
    this.#child = fork(new URL('./swarm.mjs', import.meta.url), { execArgv: [], env: {} })
  }

  async open (options: { port: number, sse: number, websocket: number, path: { sse: string, websocket: string }, first?: number }): Promise<void> {
    await this.#ask({ do: 'open', ...options }, 'opened')
  }

  /** Resolves when every client has seen this many events in order. */
  async expect (count: number): Promise<void> {
    await this.#ask({ do: 'expect', count }, 'done')
  }

  /** So many clients stop reading. */
  async stall (count: number): Promise<void> {
    await this.#ask({ do: 'stall', count }, 'stalled')
  }

  async leave (): Promise<void> {
    await this.#ask({ do: 'leave' }, 'left')
  }

  async end (): Promise<void> {
    if (this.#child.exitCode !== null) return
    this.#child.disconnect()
    await once(this.#child, 'exit')
  }

  async #ask (message: object, answer: keyof Report): Promise<void> {
    this.#child.send(message)
    const [report] = await once(this.#child, 'message') as [Report]
    if (report[answer] === undefined) throw new Error(report.fault ?? `unexpected: ${JSON.stringify(report)}`)
  }
}
