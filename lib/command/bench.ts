/** `bench`: many clients of one URL, what each of them hears, and how long after its id was given. */
import { setTimeout as sleep } from 'node:timers/promises'
import { dial, placeOf, type Dialled, type Heard } from './dial.ts'
import { harmlessJson, print, say } from './output.ts'
import { givenAt, Latencies, Orders, Sequence } from './sequence.ts'
import type { Target } from './usage.ts'

interface Load { readonly target: Target, readonly json: boolean, readonly clients: number, readonly seconds: number }

/** Clients that are on their way in at once. */
const STEP = 50
/** A client is told by these that it is now elsewhere: what is between has not gone missing. */
const MOVED: ReadonlySet<string> = new Set(['realtime:reset', 'realtime:snapshot', 'realtime:at'])

/** Resolves with the exit code. `signal`: the user has had enough; what was found is told. */
export async function bench (load: Load, signal: AbortSignal): Promise<number> {
  const probe = new Probe(load, signal)
  await probe.connect()
  if (probe.connected > 0) await probe.measure()
  probe.close()
  return probe.report()
}

class Probe {
  readonly #load: Load
  readonly #signal: AbortSignal
  readonly #orders = new Orders()
  readonly #latencies = new Latencies()
  readonly #open: Dialled[] = []
  readonly #reasons = new Map<string, number>()
  #measuring = false
  #closing = false
  #events = 0
  #resets = 0
  #cut = 0
  #ms = 0

  constructor (load: Load, signal: AbortSignal) {
    this.#load = load
    this.#signal = signal
  }

  get connected (): number { return this.#open.length }

  /** In steps, so that neither side's backlog is what is measured. */
  async connect (): Promise<void> {
    for (let at = 0; at < this.#load.clients && !this.#signal.aborted; at += STEP) {
      const step = Math.min(STEP, this.#load.clients - at)
      await Promise.all(Array.from({ length: step }, async () => await this.#client()))
    }
    say(`${this.connected} of ${this.#load.clients} clients are connected`)
    for (const [reason, count] of this.#reasons) say(`${count} were not: ${reason}`)
  }

  async #client (): Promise<void> {
    const sequence = new Sequence(this.#orders)
    try {
      const { target } = this.#load
      const dialled = await dial(target, placeOf(target), (heard) => this.#hear(sequence, heard), this.#signal)
      this.#open.push(dialled)
      dialled.ended.then(() => { if (!this.#closing && !this.#signal.aborted) this.#cut++ }, () => {})
    } catch (error) {
      const { message, code } = error as NodeJS.ErrnoException
      const reason = message || String(code)
      this.#reasons.set(reason, (this.#reasons.get(reason) ?? 0) + 1)
    }
  }

  async measure (): Promise<void> {
    const since = performance.now()
    this.#measuring = true
    await sleep(this.#load.seconds * 1000, undefined, { signal: this.#signal }).catch(() => {})
    this.#measuring = false
    this.#ms = performance.now() - since
  }

  #hear (sequence: Sequence, heard: Heard): void {
    if (heard.event === 'realtime:reset') this.#resets++
    if (MOVED.has(heard.event)) sequence.lost(heard.topic ?? '')
    if (heard.event.startsWith('realtime:') || this.#closing) return
    sequence.heard(heard)
    if (!this.#measuring) return
    this.#events++
    const given = givenAt(heard.id)
    if (given !== undefined) this.#latencies.add(Date.now() - given)
  }

  close (): void {
    this.#closing = true
    for (const dialled of this.#open) dialled.close()
  }

  report (): number {
    const { faults, compared } = this.#orders
    const seconds = this.#ms / 1000
    const result = {
      clients: this.#load.clients,
      connected: this.connected,
      cut: this.#cut,
      seconds: Number(seconds.toFixed(3)),
      events: this.#events,
      eventsPerSecond: seconds > 0 ? Math.round(this.#events / seconds) : 0,
      p50: this.#latencies.percentile(0.5),
      p99: this.#latencies.percentile(0.99),
      compared,
      ...faults,
      resets: this.#resets
    }
    print(this.#load.json ? harmlessJson(result) : textOf(result))
    const unheard = this.connected > 0 && this.#events === 0
    if (unheard) say(nothingIn(seconds))
    const amiss = faults.gaps + faults.duplicates + faults.disorder + this.#resets + this.#cut
    return amiss > 0 || unheard || this.connected < this.#load.clients ? 1 : 0
  }
}

function nothingIn (seconds: number): string {
  return `no event was heard in ${seconds.toFixed(1)} s, so nothing was measured: bench publishes nothing itself. ` +
    'Let your app publish to this URL\'s topics while it listens'
}

type Result = Record<string, number | undefined>

function textOf ({ p50, p99, ...result }: Result): string {
  const { connected, clients, cut, events, eventsPerSecond, compared, gaps, duplicates, disorder, resets } = result
  return [
    `connected   ${connected} of ${clients}, ${cut} cut`,
    `events      ${events}, ${eventsPerSecond} a second`,
    p50 === undefined
      ? 'latency     not known: no event had an id that begins with a time'
      : `latency     p50 ${p50} ms, p99 ${p99} ms (from the clock that gave the id, in whole ms)`,
    compared === 0
      ? 'order       not checked: no event had an id of a topic'
      : `order       ${gaps} gaps, ${duplicates} duplicates, ${disorder} out of order, ${resets} resets`
  ].join('\n')
}
