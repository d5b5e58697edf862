/** Who may, and until when: the feature, as routes use it. */
import type { Deadlines } from '../../core/deadlines.ts'
import type { Identity } from '../../core/identity.ts'
import type { Observer } from '../../core/observe.ts'
import { readExpiry, readMoment } from './expiry.ts'
import { Holding, type Holder, type HoldingHost } from './holding.ts'

export interface GrantsHost {
  readonly deadlines: Deadlines
  readonly observe: Observer
}

export class Grants implements HoldingHost {
  readonly deadlines: Deadlines
  readonly grace: number
  readonly #host: GrantsHost

  /** `grace`: how long what has ended goes on, ms. */
  constructor (host: GrantsHost, grace: number) {
    this.#host = host
    this.deadlines = host.deadlines
    this.grace = grace
  }

  holding (holder: Holder): Holding {
    return new Holding(this, holder)
  }

  expired (): void {
    this.#host.observe.counts.expired++
  }

  /** What `identify` gave, with moments that are moments. @throws ExpiryInvalid, Expired */
  checked (identity: Identity | undefined): Identity | undefined {
    if (!identity) return undefined
    readExpiry(identity.expiresAt, 'the identity', this.deadlines)
    readMoment(identity.issuedAt, 'the identity', 'issuedAt')
    return identity
  }
}
