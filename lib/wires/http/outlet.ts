/** One client's end of a channel's stream. It writes as an event stream does, and says what a WebSocket would. */
import { bytesOf } from '../../core/delivery/bytes.ts'
import type { CloseReason } from '../../core/close-reasons.ts'
import type { Entry } from '../../core/event.ts'
import type { Encoder, HeardSubscription, Notice, OutletHost } from '../../core/wire.ts'
import { SseOutlet, type RawResponse, type SseOutletOptions } from '../sse/outlet.ts'
import type { Envelope } from '../websocket/protocols/envelope.ts'
import { envelopeFor } from './frames.ts'

export class EnvelopeOutlet extends SseOutlet {
  readonly sheds = true
  readonly protocol: Envelope
  readonly #connection: OutletHost

  constructor (connection: OutletHost, raw: RawResponse, options: SseOutletOptions) {
    super(connection, raw, options)
    this.#connection = connection
    this.protocol = envelopeFor(this.framed)
  }

  override encoder (): Encoder<Uint8Array> {
    return this.protocol.encoder
  }

  override release (): void {}

  override encodeOne (entry: Entry, subscription?: HeardSubscription): Uint8Array {
    return subscription ? bytesOf(this.protocol.encoder, [entry], subscription.topic) : super.encodeOne(entry)
  }

  override notice (notice: Notice): Uint8Array {
    return this.protocol.notice(notice, this.#connection)
  }

  /** It has said `open`: also where it was refused before it was answered. */
  protected override lastWords (reason: CloseReason, retry: number | undefined): Uint8Array {
    return this.protocol.bye(reason, retry)
  }
}
