/** One upgrade request, and whose it is: which can only be seen by what has become of its socket. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'

/** What sockets have and a Duplex in memory has not. */
interface SocketLike {
  readonly bytesWritten?: number
  /** Node's own name for the response that is being written to a socket. */
  readonly _httpMessage?: ServerResponse | null
}

export class Upgrade {
  readonly raw: IncomingMessage
  readonly socket: Duplex
  /** What came with the head: the first frames may be in it. */
  readonly head: Buffer
  /** The response to an earlier request on this socket, which was not over when this one came. */
  readonly earlier: ServerResponse | undefined
  readonly written: number
  readonly flowing: boolean | null
  /** It was given to the app from here. */
  ours = false
  #state: 'new' | 'watched' | 'settled' = 'new'
  #closed: (() => void) | undefined

  constructor (raw: IncomingMessage, socket: Duplex, head: Buffer) {
    this.raw = raw
    this.socket = socket
    this.head = head
    this.earlier = responseOn(socket)
    this.written = writtenTo(socket)
    this.flowing = socket.readableFlowing
  }

  /**
   * Nobody has answered it in the turn in which it came: from here on its socket may break or close. Node took its own
   * error listener off before 'upgrade'. False where somebody has it already.
   */
  watch (closed: () => void): boolean {
    if (this.settled) return false
    this.#state = 'watched'
    this.#closed = closed
    this.socket.on('error', destroy)
    this.socket.once('close', closed)
    return true
  }

  /** Somebody has it, and sees to its end. */
  get settled (): boolean { return this.#state === 'settled' }

  /** Nobody waits for its end any more. */
  release (): void {
    if (this.#closed) this.socket.off('close', this.#closed)
    this.#closed = undefined
  }

  /** Who has it now listens for errors himself. */
  handOver (): void {
    this.release()
    if (this.#state === 'watched') this.socket.off('error', destroy)
    this.#state = 'settled'
  }
}

/**
 * Whom it is seen to belong to: somebody who answers by an ordinary response, or who reads, writes or has ended the
 * socket. An owner that waits for something of its own before it touches the socket is not seen.
 */
export function ownerOf (upgrade: Upgrade): ServerResponse | 'other' | undefined {
  const { socket, earlier, flowing } = upgrade
  const response = responseOn(socket)
  if (response && response !== earlier) return response
  const reads = socket.readableFlowing !== flowing || socket.listenerCount('readable') > 0
  return reads || isAnswered(upgrade) ? 'other' : undefined
}

/** Something was written since it came. While an earlier response is under way nobody can tell. */
export function isAnswered (upgrade: Upgrade): boolean {
  return hasEnded(upgrade) || (upgrade.earlier === undefined && writtenTo(upgrade.socket) > upgrade.written)
}

export function hasEnded ({ socket }: Upgrade): boolean {
  return socket.destroyed || socket.writableEnded
}

/**
 * When the responses to earlier requests on this socket are out: until then it is theirs. A client that does not wait
 * for one that does not end is cut.
 */
export function afterEarlier ({ socket }: Upgrade, patienceMs: number, then: () => void): void {
  if (!responseOn(socket)) return then()
  const timer = setTimeout(() => socket.destroy(), patienceMs).unref()
  const next = (): void => {
    const response = responseOn(socket)
    // Node's own listener came first: the next of them is in place.
    if (response) {
      response.once('finish', next)
      return
    }
    clearTimeout(timer)
    if (!socket.destroyed) then()
  }
  next()
}

function responseOn (socket: Duplex): ServerResponse | undefined {
  return (socket as SocketLike)._httpMessage ?? undefined
}

function writtenTo (socket: Duplex): number {
  return (socket as SocketLike).bytesWritten ?? 0
}

function destroy (this: Duplex): void {
  this.destroy()
}
