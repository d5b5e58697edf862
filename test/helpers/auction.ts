/** The pet store's auctions from outside: bidders who know what became of each bid, and nodes that can be killed. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'
import { WebSocket } from 'ws'

export interface Frame { op?: string, event?: string, ref?: number, code?: string, id?: string, data?: Record<string, unknown> }

/** `unknown`: the connection was lost before the answer, or the answer is that nobody knows. */
export type Answer = 'accepted' | 'unknown' | { refused: string }

const UNKNOWN = new Set(['UNAVAILABLE', 'INTERNAL'])

export class Bidder {
  readonly userId: string
  readonly frames: Frame[] = []
  readonly #socket: WebSocket
  readonly #waiting = new Map<number, (answer: Answer) => void>()
  readonly #looks = new Set<() => void>()
  #ref = 0

  private constructor (userId: string, socket: WebSocket) {
    this.userId = userId
    this.#socket = socket
    socket.on('message', (text) => this.#hear(JSON.parse(String(text)) as Frame))
    socket.on('close', () => {
      for (const answer of this.#waiting.values()) answer('unknown')
      this.#waiting.clear()
    })
    socket.on('error', () => {})
  }

  /** Throws where nobody listens. */
  static async open (t: Test, url: string, auctionId: string, userId: string): Promise<Bidder> {
    const socket = new WebSocket(`${url.replace('http', 'ws')}/auctions/${auctionId}?userId=${userId}`, 'fastify-realtime.v1')
    const bidder = new Bidder(userId, socket)
    t.teardown(() => socket.terminate())
    await once(socket, 'open')
    socket.send(JSON.stringify({ op: 'open' }))
    return bidder
  }

  get lost (): boolean { return this.#socket.readyState !== WebSocket.OPEN }

  async bid (amount: number): Promise<Answer> {
    if (this.lost) return 'unknown'
    const ref = ++this.#ref
    return await new Promise((resolve) => {
      this.#waiting.set(ref, resolve)
      this.#socket.send(JSON.stringify({ event: 'bid', data: { amount }, ref }))
    })
  }

  async find (wanted: (frame: Frame) => boolean): Promise<Frame> {
    return await new Promise((resolve) => {
      const look = (): void => {
        const found = this.frames.find(wanted)
        if (found === undefined) return
        this.#looks.delete(look)
        resolve(found)
      }
      this.#looks.add(look)
      look()
    })
  }

  #hear (frame: Frame): void {
    this.frames.push(frame)
    for (const look of this.#looks) look()
    const { op, ref, code = '' } = frame
    if (ref === undefined || (op !== 'reply' && op !== 'error')) return
    this.#waiting.get(ref)?.(op === 'reply' ? 'accepted' : UNKNOWN.has(code) ? 'unknown' : { refused: code })
    this.#waiting.delete(ref)
  }

  close (): void {
    this.#socket.terminate()
  }
}

const program = fileURLToPath(new URL('../../.cache/examples/petstore/server.js', import.meta.url))

export interface ShopProcess { url: string, kill (): Promise<void> }

/** A node of the shop as a process of its own. */
export async function startProcess (t: Test, redisUrl: string): Promise<ShopProcess> {
  if (!existsSync(program)) throw new Error('Build the examples first: npm run build:examples')
  const child = spawn(process.execPath, [program], {
    env: { ...process.env, PORT: '0', REDIS_URL: redisUrl }, stdio: ['ignore', 'pipe', 'inherit']
  })
  const ended = once(child, 'exit')
  const kill = async (): Promise<void> => {
    child.kill('SIGKILL')
    await ended
  }
  t.teardown(kill)
  const [line] = await once(createInterface({ input: child.stdout }), 'line') as [string]
  return { url: /http:\S+/.exec(line)![0], kill }
}
