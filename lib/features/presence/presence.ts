/**
 * Presence: for each topic that declares it, a companion topic that says who is there, and the members connected to
 * this node.
 */
import {
  memberStoreOf, type Adapter, type MemberChange, type MemberStore, type MemberTopic, type Retention
} from '../../core/adapter.ts'
import { callApart, type AppLog } from '../../core/callbacks.ts'
import { closedByApp, forbidden, tooManyFaults } from '../../core/close-reasons.ts'
import type { Departed, Feature, Listener } from '../../core/hub.ts'
import type { ActiveTopic } from '../../core/delivery/active-topic.ts'
import type { StatePage } from '../../core/published.ts'
import { DeclaredTopic, type Params, type TopicAt, type TopicHost } from '../../core/topics/topic.ts'
import { NoPresence, PresenceUnsupported } from '../../errors.ts'
import { howMany, whoIsThere } from './codec.ts'
import type { Member, PresencePolicy } from './policy.ts'
import { MembersHere, type Departure, type Membership } from './members-here.ts'
import { PREFIX, subjectOf } from './names.ts'

export interface PresenceHost extends TopicHost {
  readonly adapter: Adapter & { members?: MemberStore }
  readonly log: AppLog
  readonly stopping: boolean
  readonly states: { read (at: TopicAt, options: unknown, call: string): Promise<StatePage> }
  attach (feature: Feature): void
}

/** The topic that says who is in another topic. */
export interface Companion { readonly declared: DeclaredTopic, readonly policy: PresencePolicy }

/** A page of members. */
interface Members { readonly members: unknown[], readonly size: number, readonly more: boolean }

/** A client that comes back while its events are kept gets the changes. Others get the list of members. */
const RETENTION: Retention = Object.freeze({ limit: 1000, maxAge: 120_000, maxBytes: 4 << 20 })

export class Presence implements Feature {
  readonly #host: PresenceHost
  readonly #store: MemberStore | undefined
  /** Companions by the topic that they are about, and policies by the companion's own topic. */
  readonly #companions = new Map<DeclaredTopic, Companion>()
  readonly #policies = new Map<DeclaredTopic, PresencePolicy>()
  readonly #here = new Map<string, MembersHere>()
  /** The membership of each connection by companion name: before it joins the companion, and after. */
  readonly #expected = new WeakMap<object, Map<string, Membership>>()
  readonly #entered = new WeakMap<object, Map<string, Membership>>()

  constructor (host: PresenceHost) {
    this.#host = host
    this.#store = memberStoreOf(host.adapter)
  }

  /** @throws PresenceUnsupported */
  declare (topic: DeclaredTopic, policy: PresencePolicy): void {
    const { adapter } = this.#host
    if (!this.#store) throw new PresenceUnsupported(topic.pattern, adapter.name)
    if (this.#companions.size === 0) this.#begin(this.#store)
    const { authorize } = topic.policy
    const declared = new DeclaredTopic(this.#host, PREFIX + topic.pattern, {
      retention: RETENTION,
      schemas: undefined,
      events: undefined,
      // Called again when rights may have been taken. Without `authorize`, the companion goes as its topic goes.
      authorize: typeof authorize === 'function'
        ? (request, { params, claims }) =>
            authorize(request, { topic: topic.name(params), params, action: 'presence', claims })
        : undefined,
      snapshot: undefined,
      keyed: {
        bounds: { maxKeys: policy.maxMembers, maxBytes: Infinity, lifetime: Infinity },
        event: policy.event,
        codec: policy.mode === 'count' ? howMany : () => whoIsThere,
        settle: this.#store.settle
      },
      companion: true,
      validate: false
    }, 'reserved')
    this.#companions.set(topic, { declared, policy })
    this.#policies.set(declared, policy)
  }

  /** Called for the first declaration: apps without presence have no cost. */
  #begin (store: MemberStore): void {
    store.watch((topic, change) => this.#told(topic, change), (name) => this.#describe(name))
    this.#host.attach(this)
  }

  companionOf (topic: DeclaredTopic): Companion | undefined {
    return this.#companions.get(topic)
  }

  /** The name of this topic's companion. Undefined if it has none, or if the name would be too long. */
  nameIn (topic: DeclaredTopic, params: Params): string | undefined {
    try {
      return this.#companions.get(topic)?.declared.name(params)
    } catch {
      return undefined
    }
  }

  /** @throws NoPresence, OptionInvalid, Unavailable */
  async members ({ topic, params }: TopicAt, options?: unknown): Promise<Members> {
    const companion = this.#companions.get(topic)
    if (!companion) throw new NoPresence(topic.pattern)
    const at = companion.declared.at(params)
    const { items, size, more } = await this.#host.states.read(at, options, 'presence()')
    return { members: items.map(({ data }) => data), size, more }
  }

  /**
   * Sets which member the connection will be, before it joins the companion. Without this the connection only watches.
   */
  expect (connection: object, { name }: TopicAt, membership: Membership): void {
    put(this.#expected, connection, name, membership)
  }

  /** Sets what a client says of itself, as JSON text. False if it is no member. */
  update (connection: object, { topic, params }: TopicAt, state: string): boolean {
    const name = this.nameIn(topic, params) ?? ''
    const membership = this.#entered.get(connection)?.get(name)
    return membership !== undefined && this.#here.get(name)?.update(membership.id, state) === true
  }

  // --- as connections come and go --------------------------------------------------------

  joined (connection: Listener, { declared, name }: ActiveTopic): void {
    const policy = this.#policies.get(declared)
    const membership = policy && this.#expected.get(connection)?.get(name)
    if (!policy || !membership) return
    this.#expected.get(connection)?.delete(name)
    put(this.#entered, connection, name, membership)
    this.#hereIn(name, policy).enter(connection, membership)
  }

  left (connection: Listener, { declared, params, name }: ActiveTopic, how: Departed): void {
    // A node that stops does not report departures one by one: the store handles all its members at once.
    if (this.#host.stopping) return
    const companion = how === 'ended' ? undefined : this.nameIn(declared, params)
    if (companion !== undefined) this.#leave(connection, companion, departureOf(how, connection))
    else if (this.#policies.has(declared)) this.#depart(connection, name, departureOf(how, connection))
  }

  begunAnew ({ declared, name }: ActiveTopic): void {
    if (this.#policies.has(declared)) this.#store?.doubt(name)
  }

  /** The connection has left the topic, so it leaves the companion too. */
  #leave (connection: Listener, name: string, how: Departure): void {
    this.#depart(connection, name, how)
    connection.remove(name)
  }

  #depart (connection: Listener, name: string, how: Departure): void {
    const memberships = this.#entered.get(connection)
    const membership = memberships?.get(name)
    const here = this.#here.get(name)
    if (!membership || !here) return
    memberships?.delete(name)
    here.leave(connection, membership.id, how)
  }

  #hereIn (name: string, policy: PresencePolicy): MembersHere {
    let here = this.#here.get(name)
    if (!here) this.#here.set(name, here = this.#open(name, policy))
    return here
  }

  #open (name: string, policy: PresencePolicy): MembersHere {
    const empty = (): void => { this.#here.delete(name) }
    return new MembersHere(this.#store as MemberStore, memberTopic(name, policy), empty)
  }

  #describe (name: string): MemberTopic | undefined {
    const owner = name.startsWith(PREFIX) ? this.#host.owner(subjectOf(name)) : undefined
    const companion = owner && this.#companions.get(owner)
    return companion && memberTopic(name, companion.policy)
  }

  // --- what this node has appended -------------------------------------------------------

  #told ({ subject, topic: name }: MemberTopic, change: MemberChange): void {
    const owner = this.#host.owner(subject)
    const companion = owner && this.#companions.get(owner)
    if (!companion) return
    const { onJoin, onLeave } = companion.policy
    const failed = (what: string): string => `realtime: ${what} of topic "${name}" failed`
    if (change.type === 'join' && onJoin) {
      for (const text of change.members) {
        callApart(this.#host.log, failed('onJoin'), () => onJoin(JSON.parse(text) as Member, { topic: subject }))
      }
    }
    if (change.type === 'leave' && onLeave) {
      for (const id of change.ids) {
        callApart(this.#host.log, failed('onLeave'), () => onLeave({ id }, { topic: subject, reason: change.reason }))
      }
    }
  }

  closing (): undefined {
    for (const here of this.#here.values()) here.close()
    this.#here.clear()
  }
}

function memberTopic (name: string, { event, mode, maxMembers, grace }: PresencePolicy): MemberTopic {
  return { topic: name, subject: subjectOf(name), event, mode, maxMembers, grace, retention: RETENTION }
}

function put (
  all: WeakMap<object, Map<string, Membership>>, connection: object, name: string, membership: Membership
): void {
  const known = all.get(connection) ?? new Map<string, Membership>()
  all.set(connection, known.set(name, membership))
}

/** With these reasons the server sends a client away. After any other end the client may be reloading its page. */
const SENT_AWAY: ReadonlySet<string> = new Set([closedByApp, forbidden, tooManyFaults].map(({ name }) => name))

/** A client that was sent away for good gets no grace. */
function departureOf (how: Departed, { reason }: Listener): Departure {
  if (how === 'taken') return 'removed'
  if (how === 'left') return 'left'
  return reason && SENT_AWAY.has(reason.name) && !reason.reconnect ? 'removed' : 'lost'
}
