/** `listen`: prints what one client hears, and comes back from where it was cut. */
import { setTimeout as sleep } from 'node:timers/promises'
import { dial, Over, placeOf, Refused, type Dialled, type Heard, type Place } from './dial.ts'
import { drained, harmless, harmlessJson, print, say, word } from './output.ts'
import { Pauses } from './pauses.ts'
import type { Target } from './usage.ts'

interface Listening { readonly target: Target, readonly json: boolean, readonly count: number }

/** What the protocol says about a connection, and no data. */
const SILENT: ReadonlySet<string> = new Set([
  'realtime:open', 'realtime:subscribed', 'realtime:pong', 'realtime:at', 'realtime:bye', 'realtime:error'
])

/** Resolves with the exit code. `signal`: the user has had enough. */
export async function listen (asked: Listening, signal: AbortSignal): Promise<number> {
  return await new Listener(asked, signal).run()
}

class Listener {
  readonly #asked: Listening
  readonly #stop = new AbortController()
  readonly #place: Place
  readonly #since = performance.now()
  #dialled: Dialled | undefined
  #events = 0
  #connections = 0
  #failed = false

  constructor (asked: Listening, signal: AbortSignal) {
    this.#asked = asked
    this.#place = placeOf(asked.target)
    signal.addEventListener('abort', () => this.#end())
  }

  get #over (): boolean { return this.#stop.signal.aborted }

  async run (): Promise<number> {
    const pauses = new Pauses()
    while (!this.#over) {
      const ms = await this.#once(pauses)
      if (this.#over) break
      say(`again in ${ms} ms`)
      await sleep(ms, undefined, { signal: this.#stop.signal }).catch(() => {})
    }
    this.#summary()
    return this.#failed ? 1 : 0
  }

  #end (): void {
    this.#stop.abort()
    this.#dialled?.close()
  }

  /** One connection, until it is over. Resolves with when to come back, ms. */
  async #once (pauses: Pauses): Promise<number> {
    try {
      const dialled = this.#dialled = await this.#dial()
      const since = performance.now()
      this.#connected()
      if (this.#over) dialled.close()
      const { why, back, failed } = await dialled.ended
      if (!this.#over) say(why)
      if (back === undefined) this.#finish(failed)
      return pauses.ended(performance.now() - since, back ?? 0)
    } catch (error) {
      this.#refused(error as Error)
      return pauses.failed()
    }
  }

  #dial (): Promise<Dialled> {
    return dial(this.#asked.target, this.#place, (heard) => this.#hear(heard), this.#stop.signal)
  }

  #connected (): void {
    const id = this.#place.id ?? [...this.#place.topics.values()][0]
    this.#connections++
    if (this.#connections === 1) say(`connected to ${this.#asked.target.url.host}`)
    else say(id === undefined ? 'connected again' : `connected again: what was missed since ${id} follows`)
  }

  /** A server that was never there is not waited for; one that was comes back. */
  #refused (error: Error): void {
    if (this.#over) return
    say(error.message || String((error as NodeJS.ErrnoException).code))
    if (error instanceof Over) this.#finish(false)
    else if (error instanceof Refused || this.#connections === 0) this.#finish(true)
  }

  #finish (failed: boolean): void {
    if (!this.#over) this.#failed = failed
    this.#end()
  }

  #hear (heard: Heard): void {
    if (this.#over) return
    this.#tell(heard)
    if (SILENT.has(heard.event)) return
    if (!print(this.#lineOf(heard))) this.#waitForReader()
    if (++this.#events >= this.#asked.count) this.#end()
  }

  /** What is to be known besides the data. */
  #tell ({ event, data, topic = '' }: Heard): void {
    const { reason, recovered, code, message, ref, topic: told = topic } = (data ?? {}) as Record<string, unknown>
    if (event === 'realtime:reset') say(`reset: events of "${word(told)}" were lost (${word(reason)})`)
    if (event === 'realtime:subscribed' && recovered !== undefined) {
      say(recovered === true ? `"${topic}" recovered: what was missed follows` : `"${topic}" could not be recovered`)
    }
    if (event !== 'realtime:error') return
    say(`refused: ${word(code)}: ${word(message)}`)
    if (this.#asked.target.topics.includes(word(ref))) this.#finish(true)
  }

  #lineOf ({ event, id, topic, data }: Heard): string {
    if (this.#asked.json) return harmlessJson({ event, id, topic, data })
    const words = [event, topic, id].flatMap((word) => word === undefined ? [] : harmless(word))
    return [...words, harmlessJson(data)].join(' ')
  }

  /** Whoever reads the output is slower than the server: what comes waits there, not here. */
  #waitForReader (): void {
    const dialled = this.#dialled
    dialled?.pause()
    drained(() => dialled?.resume())
  }

  #summary (): void {
    const seconds = ((performance.now() - this.#since) / 1000).toFixed(1)
    const again = Math.max(0, this.#connections - 1)
    say(`${this.#events} events in ${seconds} s; connected again ${again} times`)
  }
}
