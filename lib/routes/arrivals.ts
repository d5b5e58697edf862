/**
 * When a request arrived at the server, told by how many orders had been given by then: whatever is ordered afterwards
 * concerns its client, however long hooks run, and whichever plugin's hooks they are.
 *
 * The server's own event tells it. Requests that it does not show (injected ones, and those of the second server that
 * Fastify makes for localhost) are told by Fastify's clock, which starts before their first hook.
 */
import type { IncomingMessage } from 'node:http'
import type { FastifyInstance, FastifyRequest, onRequestHookHandler, onResponseHookHandler } from 'fastify'
import type { Node } from '../core/cluster/node.ts'

type Marked = IncomingMessage & { [mark: symbol]: number | undefined }

export class Arrivals {
  /** Of this app: another one may be given the same request. */
  readonly #mark = Symbol('fastify-realtime.arrived')
  readonly #node: Node
  readonly #server: Partial<FastifyInstance['server']>
  readonly #watched = new Set<'request' | 'upgrade'>()
  readonly #seen = (raw: IncomingMessage): void => this.#note(raw, this.#node.orders)

  /** `overhears` marks a listener that answers no upgrade. */
  constructor (app: FastifyInstance, node: Node, overhears: (listener: object) => void) {
    this.#server = app.server
    this.#node = node
    overhears(this.#seen)
  }

  /** A route of this kind is declared, or a topic. Before that, no request of the app's costs anything. */
  watch (kind: 'stream' | 'channel'): void {
    this.#listen('request')
    // Where nobody listens for upgrades, Node takes them for ordinary requests.
    if (kind === 'channel') this.#listen('upgrade')
  }

  #listen (event: 'request' | 'upgrade'): void {
    if (this.#watched.has(event)) return
    this.#watched.add(event)
    this.#server.prependListener?.(event, this.#seen)
  }

  /** The app is closed; its server may live on. */
  end (): void {
    for (const event of this.#watched) this.#server.off?.(event, this.#seen)
  }

  /** The first time counts: a proxy plugin routes the same request again. */
  #note (raw: IncomingMessage, orders: number): void {
    (raw as Marked)[this.#mark] ??= orders
  }

  /** The first of a route's own hooks. */
  readonly onRequest: onRequestHookHandler = ({ raw }, reply, done): void => {
    if ((raw as Marked)[this.#mark] === undefined) {
      this.#note(raw, this.#node.ordersAt(performance.now() - reply.elapsedTime))
    }
    done()
  }

  /** Where a route has such a hook, Fastify notes when a request came. */
  readonly onResponse: onResponseHookHandler = (_request, _reply, done): void => done()

  of ({ raw }: FastifyRequest): number {
    return (raw as Marked)[this.#mark] ?? this.#node.orders
  }
}
