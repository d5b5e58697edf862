/** A WebSocket, or HTTP where it cannot be had: behind a proxy that refuses, strips or swallows upgrades. */
import type { ServerFrame } from '../protocol.ts'
import { http } from './http.ts'
import { forget, recall, remember } from './remembered.ts'
import { websocket } from './websocket.ts'
import type { Place, Wire, WireHost, WireKind } from './wire.ts'

const HTTP = 'http'
/** From here on it is the server's own word, and none of a proxy's. */
const OWN_CODES = 4000
/** There is nobody here who speaks HTTP: the channel has no `http: true`. */
const NOBODY: ReadonlySet<number> = new Set([404, 405])

/** Where a WebSocket has worked: HTTP may stand in for it so many times, before that is remembered. */
const spare = new Map<string, number>()

/**
 * Connects by a WebSocket, or over HTTP if that fails: the handshake fails, or the socket is cut or stays silent
 * (`handshakeTimeout`) before the first frame. This is remembered for the session, by origin and path. After a
 * WebSocket that has worked is lost, the next attempt is a WebSocket again. The channel needs `http: true`; without it
 * the client uses only WebSockets.
 */
export const auto: WireKind = (place, host) => new AutoWire(place, host)

class AutoWire implements Wire {
  readonly #place: Place
  readonly #host: WireHost
  readonly #key: string
  #wire: Wire

  constructor (place: Place, host: WireHost) {
    this.#place = place
    this.#host = host
    const { origin, pathname } = new URL(place.url.replace(/^ws/, 'http'))
    this.#key = origin + pathname
    this.#wire = recall(this.#key) === HTTP ? this.#byHttp(0) : this.#bySocket()
  }

  send (said: Parameters<Wire['send']>[0]): void { this.#wire.send(said) }

  close (): void { this.#wire.close() }

  #bySocket (): Wire {
    let heard = false
    try {
      return websocket(this.#place, {
        opening: this.#host.opening,
        heard: (frame) => {
          if (!heard) spare.set(this.#key, 1)
          heard = true
          this.#host.heard(frame)
        },
        down: (code) => {
          if (heard || code >= OWN_CODES) this.#host.down(code)
          else this.#wire = this.#byHttp(code)
        }
      })
    } catch {
      // There is none here, or the page's own policy forbids it.
      return this.#byHttp(0)
    }
  }

  /** `code`: what became of the WebSocket. */
  #byHttp (code: number): Wire {
    return http(this.#place, {
      opening: this.#host.opening,
      heard: (frame) => {
        this.#note(frame)
        this.#host.heard(frame)
      },
      down: (status) => {
        if (!NOBODY.has(status)) return this.#host.down(status)
        forget(this.#key)
        this.#host.down(code)
      }
    })
  }

  /** It is open. A server that was just restarting lets a WebSocket through the next time. */
  #note (frame: ServerFrame): void {
    if (!('op' in frame) || frame.op !== 'open') return
    const left = spare.get(this.#key) ?? 0
    if (left > 0) spare.set(this.#key, left - 1)
    else remember(this.#key, HTTP)
  }
}
