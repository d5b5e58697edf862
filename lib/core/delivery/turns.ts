/** The end of each turn of the event loop. Everything that was delivered in the turn is written then, by topic. */
import { onNextTurn } from '../turn.ts'
import { FanOut } from './fan-out.ts'

/** A topic with something to write. */
export interface Dirty {
  readonly name: string
  endTurn (): void
}

export class Turns {
  readonly fanOut = new FanOut(() => this.#next())
  readonly #failed: (error: unknown, topic: string) => void
  #dirty: Dirty[] = []
  #scheduled = false

  constructor (failed: (error: unknown, topic: string) => void) {
    this.#failed = failed
  }

  schedule (topic: Dirty): void {
    this.#dirty.push(topic)
    this.#next()
  }

  #next (): void {
    if (this.#scheduled) return
    this.#scheduled = true
    onNextTurn(() => this.#end())
  }

  /** If the fan-out is busy or has used up its time, the remaining topics wait for the next turn, and gather events. */
  #end (): void {
    this.#scheduled = false
    if (!this.fanOut.work()) return
    const dirty = this.#dirty
    this.#dirty = []
    let done = 0
    while (done < dirty.length && (done === 0 || !this.fanOut.spent)) this.#endOf(dirty[done++] as Dirty)
    if (done === dirty.length) return
    this.#dirty = [...dirty.slice(done), ...this.#dirty]
    this.#next()
  }

  #endOf (topic: Dirty): void {
    try {
      topic.endTurn()
    } catch (error) {
      this.#failed(error, topic.name)
    }
  }

  /** Writes everything that waits now. */
  finish (): void {
    for (const topic of this.#dirty.splice(0)) this.#endOf(topic)
    this.fanOut.finish()
  }
}
