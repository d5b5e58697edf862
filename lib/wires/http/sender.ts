/** Who sends a message by a request of its own: judged as a client that connects, and connected by nothing. */
import type { FastifyRequest } from 'fastify'
import type { Receiver } from '../../core/event.ts'
import { randomId } from '../../core/id.ts'
import type { Identity } from '../../core/identity.ts'
import type { Action, DeclaredTopic, TopicAt } from '../../core/topics/topic.ts'
import { NoConnection } from '../../errors.ts'
import { authorize, type Asking } from '../../routes/authorize.ts'
import type { WireContext } from '../../routes/context.ts'
import { anonymous, type Judged } from '../../routes/standing.ts'
import type { Sender } from '../websocket/message.ts'

interface SenderPlan {
  readonly context: WireContext
  readonly subscribe: readonly DeclaredTopic[]
}

export class RequestSender implements Sender {
  readonly request: FastifyRequest
  readonly face: IdentityFace
  readonly receiver: Receiver | undefined
  readonly #subscribe: readonly DeclaredTopic[]
  readonly #asking: Asking
  /** The names of those that it may hear. */
  readonly #heard: Set<string>

  /** `connection`: which one it says is its own. It counts where the identity is the same. */
  constructor (
    { context, subscribe }: SenderPlan, request: FastifyRequest, judged: Judged, connection: string | undefined
  ) {
    const id = randomId()
    const identity = judged.identity ?? anonymous(id)
    this.request = request
    this.face = new IdentityFace(id, identity)
    this.receiver = connection === undefined ? undefined : { id: connection, identity }
    this.#subscribe = subscribe
    this.#asking = { hub: context.hub, request, claims: judged.claims }
    this.#heard = new Set(judged.topics.map(({ name }) => name))
  }

  /** Its connection may be on any node, or over: it is in what it may join. @throws Forbidden */
  async isIn (at: TopicAt): Promise<boolean> {
    if (this.#heard.has(at.name)) return true
    if (!this.#subscribe.includes(at.topic)) return false
    await this.authorize(at, 'subscribe')
    this.#heard.add(at.name)
    return true
  }

  authorize (at: TopicAt, action: Action): Promise<unknown> {
    return authorize(this.#asking, at, action)
  }
}

/** What a handler is handed in place of a connection: who it is. */
class IdentityFace {
  readonly id: string
  readonly kind = 'sse'
  readonly identity: Identity
  readonly topics: string[] = []
  readonly closed = false
  readonly buffered = 0
  data: Record<string, unknown> = {}

  constructor (id: string, identity: Identity) {
    this.id = id
    this.identity = identity
  }

  /** Nobody's end can be waited for. */
  get signal (): AbortSignal { return new AbortController().signal }

  send (): never { throw new NoConnection('send') }
  async subscribe (): Promise<never> { throw new NoConnection('subscribe') }
  unsubscribe (): never { throw new NoConnection('unsubscribe') }
  grant (): never { throw new NoConnection('grant') }
  close (): never { throw new NoConnection('close') }
}
