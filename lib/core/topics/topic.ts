/** A declared topic: its pattern, its policy, and the names that it makes of params. */
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
   * Undefined: guarded by the hooks of the routes that carry it. `anyone`: a client may subscribe, and publish nothing.
   * `token`: who has a token that names it.
   */
  authorize: Authorize | 'anyone' | 'token' | undefined
  snapshot: ((params: Params) => unknown) | undefined
  /** It keeps the newest event of each key. */
  keyed?: KeyedPolicy
  /** The topics that a client hears are not said to be this one: it goes along with another. */
  companion?: boolean
  /** It is of use only from its start to its end: a client without a place in it is given all of it. */
  whole?: boolean
  /** Check what is sent against its schema. */
  validate: boolean
  /** Listeners are written to at most once in so many ms. */
  coalesce?: number
}

export interface KeyedPolicy {
  readonly bounds: KeyedBounds
  /** As what its state is sent. */
  readonly event: string | undefined
  /** Default: each event is its key's newest. */
  readonly codec?: () => StateCodec
  /** ms that a state which has begun anew is left alone. Default 0. */
  readonly settle?: number
}

/** What a topic asks of its node. */
export interface TopicHost {
  readonly patience: Patience
  /** Bytes of one event's data. */
  readonly maxEventBytes: number
  /** Whose name this is, of all that are declared. */
  owner (name: string): DeclaredTopic | undefined
}

/** Names kept for each pattern. */
const MAX_NAMES = 4096

export class DeclaredTopic {
  readonly pattern: string
  readonly policy: TopicPolicy
  readonly paramNames: readonly string[]
  /** Topics of clients now, on this node. */
  subscriptions = 0
  readonly #host: TopicHost
  readonly #segments: readonly string[]
  readonly #reserved: boolean
  /** The only param, where there is one: names follow from it, and are kept. */
  readonly #onlyParam: string | undefined
  readonly #names = new OrderOfUse<string, string>()

  /**
   * `reserved`: its pattern is one of our own, and no name that a client or the app gives finds it.
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
  /** A client without a usable cursor is given the present state first. */
  get hasState (): boolean { return this.policy.snapshot !== undefined || this.policy.keyed !== undefined }
  get snapshot (): TopicPolicy['snapshot'] { return this.policy.snapshot }

  // Threat: a param that holds "/" or "%2F" must not reach another topic, so each is percent-encoded; and a name that
  // another, more exact pattern would claim ("users/me" from "users/:id") is refused.
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
   * The bytes of an event's data, no more than an event may have.
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

  /** `publish('said', data)` is meant for another library: the event would be taken for the params. */
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

/** `{ data, at }`, `{ data, event }` or both say how to take it; anything else is the state itself. */
function readSnapshot (taken: unknown): { data: unknown, at: EventId | undefined, event: string | undefined } {
  if (typeof taken === 'object' && taken !== null && 'data' in taken && ('at' in taken || 'event' in taken) &&
    Object.keys(taken).every((key) => SNAPSHOT_KEYS.has(key))) {
    const { data, at, event } = taken as { data: unknown, at?: EventId, event?: string }
    return { data, at, event }
  }
  return { data: taken, at: undefined, event: undefined }
}
