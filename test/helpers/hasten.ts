/** Time that passes when a test says so, so that a deadline can be too long for a slow machine to reach by itself. */
import type { Test } from 'tap'

/** What has waited by performance.now() has waited `ms` longer. Timers go on as they did. */
export function hasten (t: Test): (ms: number) => void {
  const now = performance.now.bind(performance)
  let passed = 0
  t.intercept(performance, 'now', { value: () => now() + passed })
  return (ms) => { passed += ms }
}
