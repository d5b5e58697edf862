/**
 * The names of runs. A run is named by its space (of one route, or shared by several) and its key. Both may have any
 * text of any length. They become params of a topic's name, and no two runs get the same name.
 */
import { createHash } from 'node:crypto'
import { encodeSegment } from '../../core/topics/pattern.ts'
import { OptionInvalid, RunKeyInvalid, RunSpaceUnknown } from '../../errors.ts'

export const RUN_PATTERN = 'realtime:runs/:space/:key'
/** The topic that says which run of a key is the present one. */
export const PRESENT_PATTERN = 'realtime:present/:space/:key'

/** A run, as the params of its topic. */
export interface RunParams { readonly space: string, readonly key: string }

/** A part of at most so many bytes is used unchanged. A hash is one byte longer, so the two cannot be confused. */
const MAX_PART = 63

/** `whose`: for the error: the route, or stop(). @throws RunKeyInvalid */
export function checkRunKey (whose: string, key: unknown): string {
  if (typeof key === 'string' && key !== '') return key
  throw new RunKeyInvalid(whose, key === '' ? 'empty' : key === null ? 'null' : `of type ${typeof key}`)
}

/** The run of a key that the app gave. */
export function runOf (space: string, key: string): RunParams {
  return { space: part(space), key: part(key) }
}

/**
 * The run of one identity and the params of its request. It is always a hash, of another kind than that of a long key.
 * So no text that a `key` function returns can reach it.
 */
export function ownRunOf (
  space: string, identity: string, params: ReadonlyArray<readonly [string, unknown]>
): RunParams {
  return { space: part(space), key: hash('own', JSON.stringify([identity, params])) }
}

function part (text: string): string {
  return text.isWellFormed() && encodeSegment(text).length <= MAX_PART ? text : hash('text', text)
}

/** Hashes the UTF-16 units, so that texts that are not well-formed differ too. */
function hash (kind: 'own' | 'text', text: string): string {
  return createHash('sha256').update(kind).update('\0').update(text, 'utf16le').digest('hex')
}

/** The spaces of this node's routes. */
export class RunSpaces {
  /** By name: the patterns of the routes whose runs are in the space. */
  readonly #patterns = new Map<string, Set<string>>()
  /** By name: true if in this space a POST begins a run and ends the one before it. */
  readonly #begun = new Map<string, boolean>()

  /** @throws OptionInvalid */
  add (name: string, pattern: string, begun = false): void {
    if ((this.#begun.get(name) ?? begun) !== begun) {
      throw new OptionInvalid('resumable.start', `must be the same for all routes of the space "${name}"`)
    }
    this.#begun.set(name, begun)
    this.#patterns.set(name, (this.#patterns.get(name) ?? new Set()).add(pattern))
  }

  areBegun (name: string): boolean {
    return this.#begun.get(name) === true
  }

  /**
   * Finds the space that the app means, by its name or its route's pattern, or the only space. An unknown name may
   * belong to a route of another node.
   * @throws RunSpaceUnknown
   */
  find (given: string | undefined): string {
    if (given !== undefined && this.#patterns.has(given)) return given
    const fitting = [...this.#patterns]
      .filter(([, patterns]) => given === undefined || patterns.has(given))
      .map(([name]) => name)
    if (fitting.length === 1) return fitting[0] as string
    if (given !== undefined && fitting.length === 0) return given
    const names = fitting.map((name) => `"${name}"`).join(', ')
    throw new RunSpaceUnknown(fitting.length === 0 ? 'no route here is resumable' : `there are several: ${names}`)
  }
}
