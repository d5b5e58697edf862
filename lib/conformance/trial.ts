/**
 * What a suite gives to a test runner, and what its trials check with. It needs only Node, so that any runner works.
 */
import assert from 'node:assert/strict'

/** One test of a suite. It passes if `run` resolves, and fails if it rejects. */
export interface Trial {
  readonly name: string
  run (): Promise<void>
}

/** The checks of one trial, and what it undoes at its end. The first check that fails ends the trial. */
export class Checks {
  readonly #ends: Array<() => unknown> = []

  /** Runs `end` when the trial is over. The last one runs first. */
  teardown (end: () => unknown): void {
    this.#ends.unshift(end)
  }

  /** Replaces a property until the trial is over. */
  intercept (target: object, name: string, { value }: { value: unknown }): void {
    const own = Object.getOwnPropertyDescriptor(target, name)
    Object.defineProperty(target, name, { value, configurable: true, writable: true })
    this.teardown(() => {
      if (own) Object.defineProperty(target, name, own)
      else Reflect.deleteProperty(target, name)
    })
  }

  async end (): Promise<void> {
    for (const end of this.#ends.splice(0)) await end()
  }

  ok (value: unknown, message?: string): void { assert.ok(value, message) }
  equal (actual: unknown, expected: unknown, message?: string): void { assert.equal(actual, expected, message) }
  not (actual: unknown, expected: unknown, message?: string): void { assert.notEqual(actual, expected, message) }
  /** Checks that the structure is the same. A Buffer and a Uint8Array with the same bytes are the same. */
  same (actual: unknown, expected: unknown, message?: string): void {
    assert.deepEqual(plain(actual), plain(expected), message)
  }

  /** Checks everything that the pattern names. A regular expression checks a text. */
  match (actual: unknown, pattern: unknown, message?: string): void {
    const fault = mismatch(actual, pattern, 'it')
    if (fault) assert.fail(message ? `${message}: ${fault}` : fault)
  }

  throws (run: () => unknown, expected: object): void {
    try {
      run()
    } catch (error) {
      return this.match(error, expected)
    }
    assert.fail('it did not throw')
  }

  async rejects (work: Promise<unknown>, expected?: object | string): Promise<void> {
    const outcome = await work.then(() => undefined, (error: unknown) => ({ error }))
    if (!outcome) assert.fail(typeof expected === 'string' ? expected : 'it did not reject')
    if (typeof expected === 'object') this.match(outcome.error, expected)
  }

  async resolves (work: Promise<unknown>): Promise<void> { await work }
}

/** Makes a trial of a test. Its teardowns run however it ends. */
export function trial (name: string, test: (t: Checks) => Promise<void>): Trial {
  return {
    name,
    async run () {
      const checks = new Checks()
      try {
        await test(checks)
      } finally {
        await checks.end()
      }
    }
  }
}

/** Without prototypes, and bytes as a list. */
function plain (value: unknown): unknown {
  if (value instanceof Uint8Array) return [...value]
  if (value instanceof Set) return new Set([...value].map(plain))
  if (Array.isArray(value)) return value.map(plain)
  if (typeof value !== 'object' || value === null) return value
  const prototype: unknown = Object.getPrototypeOf(value)
  if (prototype !== null && Object.getPrototypeOf(prototype) !== null) return value
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, plain(one)]))
}

function mismatch (actual: unknown, pattern: unknown, where: string): string | undefined {
  if (pattern instanceof RegExp) {
    return pattern.test(String(actual)) ? undefined : `${where} is ${shown(actual)}, not like ${String(pattern)}`
  }
  if (typeof pattern !== 'object' || pattern === null) {
    return Object.is(actual, pattern) ? undefined : `${where} is ${shown(actual)}, not ${shown(pattern)}`
  }
  if (actual === pattern) return undefined
  if (typeof actual !== 'object' || actual === null) return `${where} is ${shown(actual)}, not ${shown(pattern)}`
  if (Array.isArray(pattern) && (actual as unknown[]).length !== pattern.length) {
    return `${where} has ${(actual as unknown[]).length} members, not ${pattern.length}`
  }
  for (const [key, part] of Object.entries(pattern)) {
    const fault = mismatch((actual as Record<string, unknown>)[key], part, `${where}.${key}`)
    if (fault) return fault
  }
  return undefined
}

const shown = (value: unknown): string => {
  try {
    return JSON.stringify(value)?.slice(0, 500) ?? String(value)
  } catch {
    return String(value)
  }
}
