/**
 * The client where there is no page and no Node: what React Native's Hermes has, and nothing else. That is a WebSocket, timers
 * whose ids are numbers, and the language's own; no document, no events of a window, no streams, no crypto.
 */
import { createContext, runInContext } from 'node:vm'
import { build } from 'esbuild'
import { WebSocket } from 'ws'
import type { connect } from '../../lib/client/index.ts'
import { root } from './docs.ts'

const { outputFiles: [bundle] } = await build({
  entryPoints: [`${root}lib/client/index.ts`], bundle: true, format: 'iife', globalName: 'client', target: 'es2022', write: false
})

/** It resolves nothing, cannot be asked for its parts, and ends a path in a slash, as React Native's own does. */
class PartialURL {
  readonly href: string
  constructor (url: string) { this.href = url.endsWith('/') ? url : `${url}/` }
  toString (): string { return this.href }
}

interface Timer { run: () => void, ms: number, once: boolean, real: NodeJS.Timeout | undefined }

export class BareContext {
  readonly connect: typeof connect
  readonly #timers = new Map<number, Timer>()
  readonly #held: (ms: number) => boolean
  readonly #context
  #id = 0

  /** `held`: timers that run only when they are told to. */
  constructor (held: (ms: number) => boolean = () => false) {
    this.#held = held
    const stop = (id: number): void => this.#stop(id)
    this.#context = createContext({
      WebSocket,
      URL: PartialURL,
      setTimeout: (run: () => void, ms = 0) => this.#start(run, ms, setTimeout),
      setInterval: (run: () => void, ms = 0) => this.#start(run, ms, setInterval),
      clearTimeout: stop,
      clearInterval: stop
    })
    this.run('globalThis.window = globalThis.self = globalThis; globalThis.navigator = { product: "ReactNative" }; delete Symbol.dispose; delete Symbol.asyncDispose')
    this.run('{ const { now } = Date; globalThis.slept = 0; Date.now = () => now() + slept }')
    this.run(bundle?.text ?? '')
    this.connect = (this.run('client') as { connect: typeof connect }).connect
  }

  run (code: string): unknown { return runInContext(code, this.#context) }

  /** The clock goes on by so many ms, and no timer has run meanwhile. */
  sleep (ms: number): void { this.run(`slept += ${ms}`) }

  /** Runs the held timers of so many ms; says how many there were. */
  fire (ms: number): number {
    const due = this.#heldOf(ms)
    for (const timer of due) {
      if (timer.once) for (const [id, one] of this.#timers) if (one === timer) this.#timers.delete(id)
      timer.run()
    }
    return due.length
  }

  waiting (ms: number): number { return this.#heldOf(ms).length }

  /** The number of the newest held timer of so many ms. */
  newest (ms: number): number | undefined {
    return [...this.#timers].filter(([, timer]) => timer.ms === ms && timer.real === undefined).at(-1)?.[0]
  }

  /** ms of the held timer that would be over first, intervals left out. */
  shortest (): number | undefined {
    const all = [...this.#timers.values()].filter(({ once, real }) => once && real === undefined).map(({ ms }) => ms)
    return all.length > 0 ? Math.min(...all) : undefined
  }

  #heldOf (ms: number): Timer[] {
    return [...this.#timers.values()].filter((timer) => timer.ms === ms && timer.real === undefined)
  }

  /** Numbers, as in Hermes: nothing can be asked of one. */
  #start (run: () => void, ms: number, start: (run: () => void, ms: number) => NodeJS.Timeout): number {
    this.#timers.set(++this.#id, { run, ms, once: start === setTimeout, real: this.#held(ms) ? undefined : start(run, ms) })
    return this.#id
  }

  #stop (id: number): void {
    clearTimeout(this.#timers.get(id)?.real)
    this.#timers.delete(id)
  }
}
