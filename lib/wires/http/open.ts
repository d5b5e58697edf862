/** A channel's stream: the `open` of a client that came by a POST, answered by the frames of its topics. */
import type { FastifyReply, FastifyRequest } from 'fastify'
import { toError } from '../../core/callbacks.ts'
import type { Wanted } from '../../core/connection/joining.ts'
import type { DeclaredTopic } from '../../core/topics/topic.ts'
import { Forbidden, TooManyTopics } from '../../errors.ts'
import type { Arrival } from '../../routes/arrival.ts'
import type { RawResponse, SseOutlet } from '../sse/outlet.ts'
import { StreamStart, type StreamPlan } from '../sse/start.ts'
import { Fault } from '../websocket/fault.ts'
import type { ToldError } from '../websocket/protocols/protocol.ts'
import { topicNamed } from '../websocket/relay.ts'
import { faultOf, notNowOf } from '../websocket/told.ts'
import { envelopeFor } from './frames.ts'
import { EnvelopeOutlet } from './outlet.ts'

export interface OpenPlan extends StreamPlan {
  readonly subscribe: readonly DeclaredTopic[]
}

/** What the client says with it. */
export interface Opening {
  readonly cursors: ReadonlyMap<string, string>
  readonly token: string | undefined
  /** Those that it joins besides the channel's own. */
  readonly topics: readonly string[]
}

export class OpenStart extends StreamStart {
  readonly #plan: OpenPlan
  readonly #request: FastifyRequest
  readonly #arrival: Arrival
  readonly #opening: Opening
  readonly #errors: ToldError[] = []

  constructor (plan: OpenPlan, request: FastifyRequest, reply: FastifyReply, arrival: Arrival, opening: Opening) {
    super(plan, request, reply, arrival)
    this.#plan = plan
    this.#request = request
    this.#arrival = arrival
    this.#opening = opening
  }

  /** One that cannot begin is answered by a status. */
  override get foreign (): boolean { return true }

  /** Who it is may be said by its token: what that opens is judged before `onConnect` is asked. */
  protected override async accepted (): Promise<void> {
    const { token, topics } = this.#opening
    if (token !== undefined || this.#arrival.brings !== 'nothing') await this.#arrival.open(token)
    for (const topic of topics) await this.#join(topic).catch((error: unknown) => this.#note(topic, toError(error)))
    await super.accepted()
  }

  /** It is in from the beginning, or told why it is not. */
  async #join (topic: string): Promise<void> {
    const { hub } = this.#plan.context
    const at = topicNamed(hub, topic)
    if (this.#arrival.awaits(at.name)) return
    if (!this.#plan.subscribe.includes(at.topic)) {
      throw new Fault('UNKNOWN_TOPIC', 'this channel offers no such topic')
    }
    if (await this.#arrival.join(at) === 'left') throw new Forbidden(at.name, 'subscribe')
  }

  #note (topic: string, error: Error): void {
    const { code, message } = error instanceof TooManyTopics
      ? new Fault('TOO_MANY_TOPICS', error.message)
      : notNowOf(this.#request, error) ?? faultOf(this.#request, error)
    this.#errors.push({ code, message, topic })
  }

  protected override wanted (): Wanted[] {
    return this.#arrival.topics.map((at) => {
      const id = this.#opening.cursors.get(at.name)
      return { at, cursor: id === undefined || !at.topic.durable ? undefined : { id } }
    })
  }

  protected override outletOn (raw: RawResponse): SseOutlet {
    return new EnvelopeOutlet(this.#arrival.connection, raw, this.#plan)
  }

  protected override said (outlet: SseOutlet): void {
    const { connection } = this.#arrival
    for (const error of this.#errors) {
      if (!connection.closed) connection.write(envelopeFor(outlet.framed).error(error))
    }
  }
}
