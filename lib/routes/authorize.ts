/** `authorize` of a topic, asked: the one place. */
import type { FastifyRequest } from 'fastify'
import { quiet, statusAsked, statusOf } from '../core/callbacks.ts'
import { forbidden, tryAgainLater } from '../core/close-reasons.ts'
import type { Connection } from '../core/connection/connection.ts'
import type { Hub } from '../core/hub.ts'
import type { MaybePromise } from '../core/maybe-promise.ts'
import type { DeclaredTopic, TopicAt } from '../core/topics/topic.ts'
import { Forbidden } from '../errors.ts'
import { logRefusal } from './refusal.ts'
import { sparing } from './sparing-log.ts'

/** Declared topics whose `authorize` has answered undefined: said once for each. */
const speechless = new WeakSet<DeclaredTopic>()

/**
 * Asks the topic's `authorize`: only `true` allows.
 * @throws Forbidden, or the hook's own error when it says a status
 */
export async function authorize (
  { patience }: Pick<Hub, 'patience'>, request: FastifyRequest, at: TopicAt, action: 'subscribe' | 'publish'
): Promise<void> {
  const ask = at.topic.policy.authorize
  if (!ask || (ask === 'anyone' && action === 'subscribe')) return
  // Threat: whoever may hear a topic that anyone may hear must not write into it as well.
  if (ask === 'anyone') throw new Forbidden(at.name, 'published to')
  let answer: unknown
  try {
    answer = await patience.call(`"authorize" of topic "${at.name}"`, () =>
      ask(request, { topic: at.name, params: at.params, action }))
  } catch (error) {
    if (statusAsked(error) !== undefined) throw error
    sparing(request).info({ err: error, topic: at.name, action }, 'realtime: refused by authorize')
    answer = false
  }
  if (answer === true) return
  if (answer === undefined) warnOnce(request, at.topic)
  throw new Forbidden(at.name, action === 'publish' ? 'published to' : 'subscribed to')
}

function warnOnce (request: FastifyRequest, topic: DeclaredTopic): void {
  if (speechless.has(topic)) return
  speechless.add(topic)
  quiet(request.log).warn({ topic: topic.pattern },
    'realtime: authorize answered undefined, which refuses: ' +
    'return true where the client may (for a lookup that may find nothing: "?? false")')
}

export function authorizeAll (
  hub: Pick<Hub, 'patience'>, request: FastifyRequest, topics: readonly TopicAt[]
): MaybePromise<void> {
  const asked = topics.filter(({ topic }) => typeof topic.policy.authorize === 'function')
  return asked.length === 0
    ? undefined
    : Promise.all(asked.map((at) => authorize(hub, request, at, 'subscribe'))).then(() => {})
}

/** Asks again for all that the connection listens to: rights may have been taken while nobody could say so. */
export function authorizeAgain (hub: Pick<Hub, 'patience'>, request: FastifyRequest, connection: Connection): void {
  const topics = connection.subscriptions.map(({ topic: { declared, params } }) => declared.at(params))
  Promise.resolve(authorizeAll(hub, request, topics)).catch((error: unknown) => {
    logRefusal(request.log, error, 'realtime: refused by authorize, asked again')
    if (statusOf(error) === 503) connection.sendAway(tryAgainLater)
    else connection.end(forbidden)
  })
}
