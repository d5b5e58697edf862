/** A test context: `t` of tap (`teardown`) or of node:test (`after`). */
export interface TestContext {
  teardown? (end: () => Promise<unknown>): unknown
  after? (end: () => Promise<unknown>): unknown
}

export function endWithTest (t: TestContext | undefined, end: () => Promise<unknown>): void {
  if (!t) return
  if (typeof t.teardown === 'function') t.teardown(end)
  else t.after?.(end)
}
