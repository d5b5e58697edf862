/** A WebSocket, or HTTP if a proxy refuses, strips or swallows upgrades. */
import type { ServerFrame } from '../protocol.ts'
import { http } from './http.ts'
import { forget, recall, remember } from './remembered.ts'
import { websocket } from './websocket.ts'
import type { Place, Wire, WireHost, WireKind } from './wire.ts'

const HTTP = 'http'
/** Close codes from here on come from the server itself, not from a proxy. */
const OWN_CODES = 4000
/** With these statuses the channel has no `http: true`. */
const NOBODY: ReadonlySet<number> = new Set([404, 405])

/** For each server whose WebSocket has worked: how often HTTP may still replace it before HTTP is remembered. */
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
      // There is no WebSocket class, or the page's policy forbids it.
      return this.#byHttp(0)
    }
  }

  /** `code`: how the WebSocket ended. */
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

  /**
   * Remembers HTTP when its stream is open. After one WebSocket that worked, it does so only the second time, because
   * the server may just have restarted.
   */
  #note (frame: ServerFrame): void {
    if (!('op' in frame) || frame.op !== 'open') return
    const left = spare.get(this.#key) ?? 0
    if (left > 0) spare.set(this.#key, left - 1)
    else remember(this.#key, HTTP)
  }
}
