/** How many messages a client may send by requests: as many as on a connection, though it has none. */
import type { FastifyRequest } from 'fastify'
import { networkOf } from '../../core/address.ts'
import type { Hub } from '../../core/hub.ts'
import type { Identity } from '../../core/identity.ts'
import { IdentityRates } from '../../core/identity-rates.ts'
import type { Limits } from '../../options.ts'
import { addressOf } from '../../routes/peer.ts'

export class RequestRates {
  readonly #own: IdentityRates
  readonly #hub: Hub

  constructor ({ messagesPerSecond, burst }: Limits, hub: Hub) {
    this.#own = new IdentityRates(messagesPerSecond, burst)
    this.#hub = hub
  }

  /** Of whom there are too many; undefined where this one is within the rates. */
  tooMany ({ id, anonymous }: Identity, request: FastifyRequest): string | undefined {
    // Nobody in particular is counted by the address: each of its requests would be somebody else.
    const [who, key] = anonymous === true
      ? ['address', `address ${networkOf(addressOf(request) ?? '')}`]
      : ['identity', `identity ${id}`]
    if (this.#own.take(key) && (anonymous === true || this.#hub.rates.take(id))) return undefined
    this.#hub.observe.counts.rateLimited++
    return who
  }
}
