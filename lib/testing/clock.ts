/**
 * How long a test client waits, in real time. The timers are taken from Node when this is loaded: under fake timers a
 * test would wait for ever for an event that does not come.
 */
import { Socket } from 'node:net'
import { clearTimeout, setTimeout } from 'node:timers'

/** Runs `run` after `ms`. Returns a function that prevents it. */
export const afterMs: (ms: number, run: () => void) => () => void = isReal() ? byTimer : bySocket

/** False if a test's fake clock was there first. */
function isReal (): boolean {
  const probe: object = setTimeout(() => {}, 1)
  clearTimeout(probe as NodeJS.Timeout)
  return '_idleTimeout' in probe
}

/** The time is cut into slices: while a busy machine stops this process, at most one slice passes. */
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

/** A socket's timeout is a timer that no fake clock reaches. It does not keep the process alive, so a port does. */
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
