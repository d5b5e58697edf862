/** What ends a subscription from outside: a signal, and the end of the socket of whom it is for. */
import type { EventEmitter } from 'node:events'
import type { FastifyRequest } from 'fastify'

type Leave = () => void

export function onAbort (signal: AbortSignal, leave: Leave): () => void {
  if (signal.aborted) {
    leave()
    return () => {}
  }
  signal.addEventListener('abort', leave, { once: true })
  return () => signal.removeEventListener('abort', leave)
}

/** One listener for each socket: a client may have many subscriptions, and Node warns of many listeners. */
const leavers = new WeakMap<EventEmitter, Set<Leave>>()

/** A consumer may forget to end its iteration when its client goes. */
export function onSocketClose ({ raw }: FastifyRequest, leave: Leave): () => void {
  const socket = (raw as { stream?: EventEmitter & { destroyed?: boolean } }).stream ?? raw.socket
  if (!socket || socket.destroyed) {
    if (socket) leave()
    return () => {}
  }
  const known = leavers.get(socket) ?? watch(socket)
  known.add(leave)
  return () => known.delete(leave)
}

function watch (socket: EventEmitter): Set<Leave> {
  const all = new Set<Leave>()
  leavers.set(socket, all)
  socket.once('close', () => {
    leavers.delete(socket)
    for (const leave of [...all]) leave()
  })
  return all
}
