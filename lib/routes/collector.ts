/** Routes of ours, as Fastify makes them. */
import type { FastifyInstance, RouteOptions } from 'fastify'
import { RouteInvalid } from '../errors.ts'

/** The routes made by one call: a prefix with "/" makes two from it. */
export type MadeRoute = RouteOptions & { url: string, routePath?: string, method: string | string[] }

/** `'stream "/x"'`, for errors. */
export interface RouteLabel { readonly kind: 'stream' | 'channel', readonly url: string }

/** Wraps `route()`: what it makes is collected, and `last` is called with it once every hook of others is in place. */
export function makeRoutes (scope: FastifyInstance, collector: RouteCollector, options: object): MadeRoute[] {
  const made = collector.collect((mark) => scope.route({ ...options, [mark]: true } as unknown as RouteOptions))
  if (made.length === 0) throw new RouteInvalid('route', (options as { url: string }).url, 'could not be made')
  return made
}

/** Sees the routes that Fastify makes of ours (an onRoute hook of the plugin feeds it). */
export class RouteCollector {
  /** Ours bear it: another plugin's onRoute hook may make routes of its own meanwhile. */
  readonly #mark = Symbol('fastify-realtime')
  #made: MadeRoute[] | undefined

  see (route: MadeRoute): void {
    if (this.#mark in route) this.#made?.push(route)
  }

  collect (make: (mark: symbol) => void): MadeRoute[] {
    this.#made = []
    try {
      make(this.#mark)
      return this.#made
    } finally {
      this.#made = undefined
    }
  }
}
