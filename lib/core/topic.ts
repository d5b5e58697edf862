/** Declared topics: pattern, policy, names. */
import FindMyWay from 'find-my-way'
import { EventDataInvalid, EventUnknown, PatternInvalid, PatternTaken, TopicParamsInvalid, TopicUnknown } from '../errors.ts'
import type { Id, Retention } from './adapter.ts'
import { OrderOfUse } from './order-of-use.ts'
import { eventNameFault, hasControl, printable } from './event.ts'
import type { Hub, PublishedId, PastEvents } from './hub.ts'
import { encode, encodeBy, encodeJson, type Codec, type Payload } from './payload.ts'
import type { Soon } from './soon.ts'

export type Params = Record<string, string>

/** One topic of a pattern. */
export interface TopicAt {
  readonly topic: DeclaredTopic
  readonly params: Params
  readonly name: string
}

type Authorize = (request: never, context: { topic: string, params: Params, action: 'subscribe' | 'publish' }) => unknown

export interface TopicPolicy {
  retention: Retention | undefined
  /** The events' schemas as declared. */
  schemas: Record<string, unknown> | undefined
  /** Undefined: any event. */
  events: Map<string, Codec> | undefined
  /** Undefined: guarded by the hooks of the routes that carry it. `anyone`: a client may subscribe, and publish nothing. */
  authorize: Authorize | 'anyone' | undefined
  snapshot: ((params: Params) => unknown) | undefined
  /** Told from its start to whoever has no cursor: the events of a run. */
  whole?: boolean
  /** Check what is sent against its schema. */
  validate: boolean
  /** Listeners are written to at most once in so many ms. */
  coalesce?: number
}

const MAX_NAME_BYTES = 255
/** Names kept for each pattern. */
const MAX_NAMES = 4096
const PARAM_NAME = /^[A-Za-z_][A-Za-z0-9_]*$/

export class DeclaredTopic {
  readonly pattern: string
  readonly policy: TopicPolicy
  readonly paramNames: readonly string[]
  readonly #hub: Hub
  readonly #registry: TopicRegistry
  readonly #segments: readonly string[]

  /** One of the hub's own: its pattern starts with `realtime:`, and no name that a client or the app gives finds it. */
  static reserved (hub: Hub, registry: TopicRegistry, pattern: string, policy: TopicPolicy): DeclaredTopic {
    return new DeclaredTopic(hub, registry, pattern, policy, pattern.split('/'))
  }

  readonly #reserved: boolean
  /** The only param, where there is one: names follow from it, and are kept. */
  readonly #plain: string | undefined
  readonly #names = new OrderOfUse<string, string>()

  constructor (hub: Hub, registry: TopicRegistry, pattern: string, policy: TopicPolicy, reserved?: string[]) {
    this.#segments = reserved ?? checkPattern(pattern)
    this.#reserved = reserved !== undefined
    this.pattern = pattern
    this.policy = policy
    this.paramNames = this.#segments.filter(isParam).map(paramName)
    this.#plain = this.paramNames.length === 1 ? this.paramNames[0] : undefined
    this.#hub = hub
    this.#registry = registry
  }

  get durable (): boolean { return this.policy.retention !== undefined }
  get retention (): Retention | undefined { return this.policy.retention }
  get snapshot (): TopicPolicy['snapshot'] { return this.policy.snapshot }

  // Threat: a param that holds "/" or "%2F" must not reach another topic, so each is percent-encoded; and a name that
  // another, more exact pattern would claim ("users/me" from "users/:id") is refused.
  name (params: Params): string {
    if (!this.#plain) return this.#named(params)
    const value: unknown = params?.[this.#plain]
    const known = typeof value === 'string' ? this.#names.get(value) : undefined
    if (known !== undefined) return known
    const name = this.#named(params)
    if (this.#names.size === MAX_NAMES) this.#names.shift()
    if (typeof value === 'string') this.#names.set(value, name)
    return name
  }

  forgetNames (): void {
    this.#names.clear()
  }

  #named (params: Params): string {
    const name = this.#segments.map((segment) => isParam(segment) ? this.#encode(paramName(segment), params) : segment).join('/')
    if (Buffer.byteLength(name) > MAX_NAME_BYTES) this.#refuse(`the name would exceed ${MAX_NAME_BYTES} bytes`)
    if (!this.#reserved && this.paramNames.length > 0 && this.#registry.owner(name) !== this) this.#refuse('these params name a topic of another pattern')
    return name
  }

  at (params: Params): TopicAt {
    const name = this.name(params)
    const own: Params = {}
    for (const key of this.paramNames) own[key] = String(params[key])
    return Object.freeze({ topic: this, params: own, name })
  }

  // Not async: that would be one promise more for each publish.
  publish (params: Params, event: string, data: unknown, options?: unknown): Promise<PublishedId> {
    return this.#hub.publish({ topic: this, params }, event, data, options)
  }

  async history (params: Params, options?: unknown): Promise<PastEvents> {
    return await this.#hub.history(this.at(params), options)
  }

  /** The bytes of an event's data. */
  encode (name: string, event: string, data: unknown, check = this.policy.validate): Soon<Payload> {
    const codec = this.policy.events?.get(event)
    if (this.policy.events && !codec) throw new EventUnknown(name, printable(event))
    return encode(name, event, data, codec, check)
  }

  async takeSnapshot (params: Params): Promise<{ data: Uint8Array, event: string | undefined, at: Id | undefined }> {
    const taken = await this.#hub.patience.call(`"snapshot" of topic "${this.name(params)}"`, () => this.policy.snapshot?.(params))
    const { data, event, at } = readSnapshot(taken)
    if (event !== undefined && event !== 'message') {
      const fault = eventNameFault(event)
      if (fault) throw new EventDataInvalid(this.pattern, printable(event), fault)
    }
    const codec = event === undefined ? undefined : this.policy.events?.get(event)
    const bytes = codec ? await encodeBy(codec, this.pattern, event ?? 'snapshot', data, this.policy.validate) : encodeJson(this.pattern, event ?? 'snapshot', data)
    return { data: bytes, event, at }
  }

  #encode (key: string, params: Params): string {
    const value: unknown = params?.[key]
    if (typeof value !== 'string' && typeof value !== 'number') this.#refuse(`param "${key}" is missing`)
    const text = String(value)
    if (text === '') this.#refuse(`param "${key}" is empty`)
    try {
      return key === '*' ? text.split('/').map(encodeSegment).join('/') : encodeSegment(text)
    } catch {
      return this.#refuse(`param "${key}" is not well-formed Unicode`)
    }
  }

  #refuse (why: string): never {
    throw new TopicParamsInvalid(this.pattern, why)
  }
}

const SNAPSHOT_KEYS = new Set(['data', 'at', 'event'])

/** `{ data, at }`, `{ data, event }` or both say how to take it; anything else is the state itself. */
function readSnapshot (taken: unknown): { data: unknown, at: Id | undefined, event: string | undefined } {
  if (typeof taken === 'object' && taken !== null && 'data' in taken && ('at' in taken || 'event' in taken) &&
    Object.keys(taken).every((key) => SNAPSHOT_KEYS.has(key))) {
    const { data, at, event } = taken as { data: unknown, at?: Id, event?: string }
    return { data, at, event }
  }
  return { data: taken, at: undefined, event: undefined }
}

// encodeURIComponent leaves "." as it is; a segment of only dots would be resolved away by anything that treats the
// name as a path.
export function encodeSegment (text: string): string {
  const encoded = encodeURIComponent(text)
  return /^\.+$/.test(encoded) ? encoded.replaceAll('.', '%2E') : encoded
}

const isParam = (segment: string): boolean => segment.startsWith(':') || segment === '*'
const paramName = (segment: string): string => segment === '*' ? '*' : segment.slice(1)

function checkPattern (pattern: unknown): string[] {
  if (typeof pattern !== 'string' || pattern === '') throw new PatternInvalid(printable(pattern), 'must be a non-empty string')
  const shown = printable(pattern)
  if (hasControl(pattern) || !pattern.isWellFormed()) throw new PatternInvalid(shown, 'holds control characters or is not well-formed')
  if (Buffer.byteLength(pattern) > MAX_NAME_BYTES) throw new PatternInvalid(shown, `exceeds ${MAX_NAME_BYTES} bytes`)
  if (pattern.startsWith('realtime:')) throw new PatternInvalid(shown, 'starts with "realtime:", which is reserved')
  const segments = pattern.split('/')
  const names = new Set<string>()
  for (const [index, segment] of segments.entries()) {
    const fault = segmentFault(segment, index === segments.length - 1)
    if (fault) throw new PatternInvalid(shown, fault)
    if (!isParam(segment)) continue
    if (names.has(segment)) throw new PatternInvalid(shown, `names the param "${paramName(segment)}" twice`)
    names.add(segment)
  }
  return segments
}

function segmentFault (segment: string, last: boolean): string | undefined {
  if (segment === '') return 'has an empty segment (no "/" at its start or end, no "//")'
  if (segment === '*') return last ? undefined : 'has a "*" that is not its end'
  if (segment.startsWith(':')) {
    return PARAM_NAME.test(segment.slice(1)) ? undefined : `has "${segment}": a param is letters, digits and "_", without regular expressions or "?"`
  }
  if (/[:*?#%();\s]/.test(segment) || /^\.+$/.test(segment)) return `has "${segment}": text may not hold : * ? # % ( ) ; or spaces, nor be only dots`
  return undefined
}

/** Full name → declared topic, by Fastify's own router. */
export class TopicRegistry {
  readonly #topics: DeclaredTopic[] = []
  #asks = false
  readonly #router = FindMyWay({ caseSensitive: true, maxParamLength: 1024 })

  add (topic: DeclaredTopic): void {
    const shape = shapeOf(topic.pattern)
    const twin = this.#topics.find((known) => shapeOf(known.pattern) === shape)
    if (twin) throw new PatternTaken(topic.pattern, twin.pattern === topic.pattern ? '' : ` as "${twin.pattern}"`)
    // It may be the more exact owner of a name that was found before.
    for (const known of this.#topics) known.forgetNames()
    this.#topics.push(topic)
    this.#asks ||= typeof topic.policy.authorize === 'function'
    this.#router.on('GET', '/' + topic.pattern, () => {}, topic)
  }

  get all (): readonly DeclaredTopic[] { return this.#topics }
  /** Some topic has an `authorize` that is asked. */
  get asks (): boolean { return this.#asks }

  byPattern (pattern: string): DeclaredTopic | undefined {
    return this.#topics.find((topic) => topic.pattern === pattern)
  }

  owner (name: string): DeclaredTopic | undefined {
    return this.#find(name)?.topic
  }

  /** @throws TopicUnknown */
  resolve (name: unknown): TopicAt {
    const found = typeof name === 'string' && Buffer.byteLength(name) <= MAX_NAME_BYTES * 3 ? this.#find(name) : undefined
    if (!found) throw new TopicUnknown(printable(name))
    return found.topic.at(found.params)
  }

  #find (name: string): { topic: DeclaredTopic, params: Params } | undefined {
    if (name === '' || /[?#;]/.test(name)) return undefined
    const found = this.#router.find('GET', '/' + name)
    return found ? { topic: found.store as DeclaredTopic, params: found.params as Params } : undefined
  }
}

/** Two patterns that differ only in their params' names are the same to a router. */
function shapeOf (pattern: string): string {
  return pattern.split('/').map((segment) => segment.startsWith(':') ? ':' : segment).join('/')
}
