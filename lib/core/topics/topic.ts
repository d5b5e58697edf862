/** A declared topic: its pattern, its policy, and the names that are made from params. */
import { EventDataInvalid, EventUnknown, TopicParamsInvalid } from '../../errors.ts'
import type { EventId, KeyedBounds, Retention } from '../adapter.ts'
import type { Patience } from '../callbacks.ts'
import { eventNameFault, printable } from '../event-name.ts'
import { andThen, type MaybePromise } from '../maybe-promise.ts'
import { OrderOfUse } from '../order-of-use.ts'
import { bounded, encode, encodeBy, encodeJson, type Codec, type Payload } from '../payload.ts'
import type { StateCodec } from '../state-codec.ts'
import { encodeParam, isParam, MAX_NAME_BYTES, paramName, readPattern } from './pattern.ts'

export type Params = Record<string, string>

/** One topic of a pattern. */
export interface TopicAt {
  readonly topic: DeclaredTopic
  readonly params: Params
  readonly name: string
}

/** What a client is about to do in a topic. */
export type Action = 'subscribe' | 'publish' | 'presence'

export type Authorize = (
  request: unknown, context: { topic: string, params: Params, action: Action, claims: object | undefined }
) => unknown

export interface TopicPolicy {
  /** Undefined: no history. */
  retention: Retention | undefined
  /** The events' schemas as declared. */
  schemas: Record<string, unknown> | undefined
  /** Undefined: any event. */
  events: Map<string, Codec> | undefined
  /**
   * Undefined: only the hooks of the routes that carry the topic guard it. `anyone`: every client may subscribe, and
   * none may publish. `token`: a client may do what its token says.
   */
  authorize: Authorize | 'anyone' | 'token' | undefined
  snapshot: ((params: Params) => unknown) | undefined
  /** The topic keeps the newest event of each key. */
  keyed?: KeyedPolicy
  /** The topic goes along with another one. It is not listed among the topics that a client hears. */
  companion?: boolean
  /** The topic is of use only from its start to its end. A client whose cursor is not found gets all of it. */
  whole?: boolean
  /** Check data against its schema. */
  validate: boolean
  /** Listeners are written to at most once in so many ms. */
  coalesce?: number
}

export interface KeyedPolicy {
  readonly bounds: KeyedBounds
  /** The name of the event in which the state is sent, if it has one. */
  readonly event: string | undefined
  /** Default: each event is its key's newest. */
  readonly codec?: () => StateCodec
  /** ms to wait before the state is read after its log was reset. Default 0. */
  readonly settle?: number
}

/** What a declared topic needs of the node. */
export interface TopicHost {
  readonly patience: Patience
  /** The most bytes that an event's data may have. */
  readonly maxEventBytes: number
  /** The declared topic that this name belongs to: the one with the most exact pattern. */
  owner (name: string): DeclaredTopic | undefined
}

/** Names cached for each pattern. One more drops the one that was made first. */
const MAX_NAMES = 4096

export class DeclaredTopic {
  readonly pattern: string
  readonly policy: TopicPolicy
  readonly paramNames: readonly string[]
  /** Subscriptions to topics of this pattern, on this node. */
  subscriptions = 0
  readonly #host: TopicHost
  readonly #segments: readonly string[]
  readonly #reserved: boolean
  /** The param's name, if there is exactly one: then names are cached by its value. */
  readonly #onlyParam: string | undefined
  readonly #names = new OrderOfUse<string, string>()

  /**
   * `reserved`: the pattern belongs to this package, and no name that a client or the app gives finds it.
   * @throws PatternInvalid
   */
  constructor (host: TopicHost, pattern: string, policy: TopicPolicy, reserved?: 'reserved') {
    this.#segments = reserved ? pattern.split('/') : readPattern(pattern)
    this.#reserved = reserved !== undefined
    this.pattern = pattern
    this.policy = policy
    this.paramNames = this.#segments.filter(isParam).map(paramName)
    this.#onlyParam = this.paramNames.length === 1 ? this.paramNames[0] : undefined
    this.#host = host
  }

  get durable (): boolean { return this.policy.retention !== undefined }
  get retention (): Retention | undefined { return this.policy.retention }
  /** A client without a usable cursor gets the present state first. */
  get hasState (): boolean { return this.policy.snapshot !== undefined || this.policy.keyed !== undefined }
  get snapshot (): TopicPolicy['snapshot'] { return this.policy.snapshot }

  // Threat: a param that holds "/" or "%2F" must not reach another topic, so each param is percent-encoded. A name that
  // a more exact pattern would claim ("users/me" from "users/:id") is refused.
  /** @throws TopicParamsInvalid */
  name (params: Params): string {
    if (!this.#onlyParam) return this.#makeName(params)
    const value: unknown = params?.[this.#onlyParam]
    const known = typeof value === 'string' ? this.#names.get(value) : undefined
    if (known !== undefined) return known
    const name = this.#makeName(params)
    if (this.#names.size === MAX_NAMES) this.#names.shift()
    if (typeof value === 'string') this.#names.set(value, name)
    return name
  }

  forgetNames (): void {
    this.#names.clear()
  }

  #makeName (params: Params): string {
    this.#checkParams(params)
    const name = this.#segments
      .map((segment) => isParam(segment) ? this.#encodeParam(paramName(segment), params) : segment)
      .join('/')
    if (Buffer.byteLength(name) > MAX_NAME_BYTES) this.#refuse(`the name would exceed ${MAX_NAME_BYTES} bytes`)
    if (!this.#reserved && this.paramNames.length > 0 && this.#host.owner(name) !== this) {
      this.#refuse('these params name a topic of another pattern')
    }
    return name
  }

  /** @throws TopicParamsInvalid */
  at (params: Params): TopicAt {
    const name = this.name(params)
    const own: Params = {}
    for (const key of this.paramNames) own[key] = String(params[key])
    return Object.freeze({ topic: this, params: own, name })
  }

  /**
   * Encodes an event's data, and checks its size.
   * @throws EventUnknown, EventDataInvalid, EventTooLarge
   */
  encode (name: string, event: string, data: unknown, check = this.policy.validate): MaybePromise<Payload> {
    const codec = this.policy.events?.get(event)
    if (this.policy.events && !codec) throw new EventUnknown(name, printable(event))
    const payload = encode(name, event, data, codec, check)
    return andThen(payload, (made) => bounded(made, name, event, this.#host.maxEventBytes))
  }

  /** Asks the app for the present state. @throws CallbackTimeout, EventDataInvalid, what the app throws */
  async takeSnapshot (
    params: Params
  ): Promise<{ data: Uint8Array, event: string | undefined, at: EventId | undefined }> {
    const taken = await this.#host.patience.call(`"snapshot" of topic "${this.name(params)}"`, () =>
      this.policy.snapshot?.(params))
    const { data, event, at } = readSnapshot(taken)
    const fault = event === undefined ? undefined : eventNameFault(event)
    if (fault) throw new EventDataInvalid(this.pattern, printable(event), fault)
    return { data: await this.#encodeSnapshot(event, data), event, at }
  }

  #encodeSnapshot (event: string | undefined, data: unknown): MaybePromise<Uint8Array> {
    const codec = event === undefined ? undefined : this.policy.events?.get(event)
    return codec
      ? encodeBy(codec, this.pattern, event ?? 'snapshot', data, this.policy.validate)
      : encodeJson(this.pattern, event ?? 'snapshot', data)
  }

  #encodeParam (key: string, params: Params): string {
    const value: unknown = params?.[key]
    if (typeof value !== 'string' && typeof value !== 'number') {
      this.#refuse(`param "${key}" is missing. ${this.#firstArgument()}`)
    }
    const text = String(value)
    if (text === '') this.#refuse(`param "${key}" is empty`)
    try {
      return encodeParam(key, text)
    } catch {
      return this.#refuse(`param "${key}" is not well-formed Unicode`)
    }
  }

  /** Refuses `publish('said', data)`, the call of other libraries, which would take the event's name for the params. */
  #checkParams (params: unknown): void {
    const none = params === undefined || params === null
    if (typeof params === 'object' || (none && this.paramNames.length === 0)) return
    this.#refuse(`its params must be an object. ${this.#firstArgument()}`)
  }

  #firstArgument (): string {
    const names = this.paramNames.map((name) => name === '*' ? "'*': …" : `${name}: …`)
    const params = names.length === 0 ? '{}' : `{ ${names.join(', ')} }`
    return `They come first: ${params}, as in publish(${params}, event, data)`
  }

  #refuse (why: string): never {
    throw new TopicParamsInvalid(this.pattern, why)
  }
}

const SNAPSHOT_KEYS = new Set(['data', 'at', 'event'])

/** The app may return `{ data, at }`, `{ data, event }`, or all three. Any other value is the state itself. */
function readSnapshot (taken: unknown): { data: unknown, at: EventId | undefined, event: string | undefined } {
  if (typeof taken === 'object' && taken !== null && 'data' in taken && ('at' in taken || 'event' in taken) &&
    Object.keys(taken).every((key) => SNAPSHOT_KEYS.has(key))) {
    const { data, at, event } = taken as { data: unknown, at?: EventId, event?: string }
    return { data, at, event }
  }
  return { data: taken, at: undefined, event: undefined }
}
