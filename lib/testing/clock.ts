/**
 * How long a test client waits, in real time. Taken from Node when this is loaded: a test that puts a clock of its own
 * in the place of the timers would wait for ever for an event that does not come.
 */
import { Socket } from 'node:net'
import { clearTimeout, setTimeout } from 'node:timers'

/** Runs it after so many ms, unless what this returns is called before. */
export const afterMs: (ms: number, run: () => void) => () => void = isReal() ? byTimer : bySocket

/** False when a clock of a test's was there first. */
function isReal (): boolean {
  const probe: object = setTimeout(() => {}, 1)
  clearTimeout(probe as NodeJS.Timeout)
  return '_idleTimeout' in probe
}

/** In slices: while a busy machine keeps this process from its turns, no more than one of them passes. */
const SLICES = 20

function byTimer (ms: number, run: () => void): () => void {
  let left = SLICES
  let timer = setTimeout(slice, ms / SLICES)
  function slice (): void {
    left--
    if (left === 0) run()
    else timer = setTimeout(slice, ms / SLICES)
  }
  return () => clearTimeout(timer)
}

/** A socket's timeout is a timer of Node's own, out of reach; it does not keep a process alive, so a port does. */
function bySocket (ms: number, run: () => void): () => void {
  const socket = new Socket()
  const { port1 } = new MessageChannel()
  port1.onmessage = () => {}
  const stop = (): void => {
    socket.destroy()
    port1.close()
  }
  socket.setTimeout(ms, () => {
    stop()
    run()
  })
  return stop
}
