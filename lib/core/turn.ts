/**
 * The next turn of the event loop. `setImmediate` is taken from Node when this is loaded: tests put clocks of their own
 * in its place, and code that only waits for its turn must not wait for them.
 */
import { setImmediate } from 'node:timers'

export const onNextTurn: (run: () => void) => void = isReal() ? setImmediate : byMessage

export function nextTurn (): Promise<void> {
  return new Promise((resolve) => onNextTurn(resolve))
}

/** False if a test's clock was there first. */
function isReal (): boolean {
  const probe: object = setImmediate(() => {})
  return '_onImmediate' in probe
}

function byMessage (run: () => void): void {
  const { port1, port2 } = new MessageChannel()
  port1.onmessage = () => {
    port1.close()
    run()
  }
  port2.postMessage(undefined)
}
