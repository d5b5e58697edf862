/** `authorize` of a topic, asked: the one place. */
import type { FastifyRequest } from 'fastify'
import { quiet, statusAsked } from '../core/callbacks.ts'
import type { Hub } from '../core/hub.ts'
import type { MaybePromise } from '../core/maybe-promise.ts'
import type { Action, Authorize, DeclaredTopic, TopicAt } from '../core/topics/topic.ts'
import { Forbidden, TokenMissing } from '../errors.ts'
import { endingBy, readAnswer, UNLIMITED, type Grant } from '../features/grants/grant.ts'
import type { Claims } from '../features/grants/claims.ts'
import { rightIn } from '../features/grants/rights.ts'
import { sparing } from './sparing-log.ts'

/** Declared topics whose `authorize` has answered undefined: said once for each. */
const speechless = new WeakSet<DeclaredTopic>()

/** Whom the question is about. */
export interface Asking {
  readonly hub: Pick<Hub, 'patience' | 'deadlines'>
  readonly request: FastifyRequest
  /** Of the token that it brought. */
  readonly claims: Claims | undefined
}

/**
 * Asks the topic's `authorize`: only `true` or a grant allows.
 * @throws Forbidden, GrantInvalid, ExpiryInvalid, Expired, or the hook's own error when it says a status
 */
export async function authorize (asking: Asking, at: TopicAt, action: Action): Promise<Grant> {
  const ask = at.topic.policy.authorize
  if (!ask || (ask === 'anyone' && action === 'subscribe')) return UNLIMITED
  // Threat: whoever may hear a topic that anyone may hear must not write into it as well.
  if (ask === 'anyone') throw refused(at, action)
  if (ask === 'token') return byToken(asking.claims, at, action)
  const grant = await asked(asking, ask, at, action)
  if (grant) return grant
  throw refused(at, action)
}

/** Undefined for a refusal, and for a throw that says no status: also for what cannot be read. */
async function asked (
  { hub, request, claims }: Asking, ask: Authorize, at: TopicAt, action: Action
): Promise<Grant | undefined> {
  const of = `"authorize" of topic "${at.name}"`
  try {
    const answer = await hub.patience.call(of, () =>
      ask(request, { topic: at.name, params: at.params, action, claims }))
    if (answer === undefined) warnOnce(request, at.topic)
    return endingBy(readAnswer(answer, of, hub.deadlines), claims)
  } catch (error) {
    if (statusAsked(error) !== undefined) throw error
    sparing(request).info({ err: error, topic: at.name, action }, 'realtime: authorize refused')
    return undefined
  }
}

function byToken (claims: Claims | undefined, at: TopicAt, action: Action): Grant {
  if (!claims) throw new TokenMissing(at.name)
  const grant = rightIn(claims, at, action)
  if (!grant) throw refused(at, action)
  return grant
}

const DOING: Record<Action, string> = { subscribe: 'subscribe', publish: 'publish', presence: 'see who is there' }

function refused ({ name }: TopicAt, action: Action): Error {
  return new Forbidden(name, DOING[action])
}

function warnOnce (request: FastifyRequest, topic: DeclaredTopic): void {
  if (speechless.has(topic)) return
  speechless.add(topic)
  quiet(request.log).warn({ topic: topic.pattern },
    'realtime: authorize returned undefined, which refuses. ' +
    'Return true if the client may (for a lookup that may find nothing: "?? false")')
}

/** Of each topic that was asked about, what allows it. Undefined where nobody is asked. */
export function authorizeAll (
  asking: Asking, topics: readonly TopicAt[]
): MaybePromise<ReadonlyMap<string, Grant> | undefined> {
  const asked = topics.filter(isAsked)
  return asked.length === 0
    ? undefined
    : Promise.all(asked.map(async (at) => [at.name, await authorize(asking, at, 'subscribe')] as const))
      .then((grants) => new Map(grants))
}

/** Somebody is asked about this topic, or a token. */
export function isAsked ({ topic: { policy: { authorize } } }: TopicAt): boolean {
  return authorize === 'token' || typeof authorize === 'function'
}
