/** One message of a client, carried out: by its handler, or sent on to the others. */
import type { FastifyRequest } from 'fastify'
import { toError } from '../../core/callbacks.ts'
import type { Receiver } from '../../core/event.ts'
import { printable } from '../../core/event-name.ts'
import type { Hub } from '../../core/hub.ts'
import type { MaybePromise } from '../../core/maybe-promise.ts'
import type { Action, TopicAt } from '../../core/topics/topic.ts'
import type { Check } from '../../core/validation.ts'
import { EventDataInvalid } from '../../errors.ts'
import { sparing } from '../../routes/sparing-log.ts'
import { Fault } from './fault.ts'
import { mustFit, notIn, topicNamed, type Relay } from './relay.ts'

export interface Message {
  readonly check: Check | undefined
  readonly handler: ((data: unknown, context: object) => unknown) | undefined
  readonly relay: Relay | undefined
}

/** What a client says. `topic`: which one it means. `key`: by what a message that comes again is known. */
export interface Said {
  readonly name: string
  readonly data: unknown
  readonly topic: unknown
  readonly key: string | undefined
}

/** Who says it. */
export interface Sender {
  readonly request: FastifyRequest
  /** What the app is handed of it. */
  readonly face: object
  /** What a relay leaves out; undefined: nobody. */
  readonly receiver: Receiver | undefined
  /** Has it joined this topic? */
  isIn (at: TopicAt): MaybePromise<boolean>
  /** Asks the topic's `authorize`. @throws Forbidden, and what that throws with a status */
  authorize (at: TopicAt, action: Action): Promise<unknown>
}

export interface MessagesPlan {
  readonly messages: ReadonlyMap<string, Message>
  readonly hub: Hub
}

/** Resolves with the handler's answer. @throws Fault, and what the handler throws */
export async function carryOut (plan: MessagesPlan, sender: Sender, said: Said): Promise<unknown> {
  const message = plan.messages.get(said.name)
  if (!message) throw new Fault('UNKNOWN_MESSAGE', `this channel declares no message "${printable(said.name)}"`)
  const data = message.check ? await checked(message.check, said.data) : said.data
  if (message.handler) {
    const topic = said.topic === undefined ? undefined : await joinedTopic(plan, sender, said.topic)
    return await message.handler(data, contextOf(sender, topic?.name, said.key))
  }
  if (message.relay) await relayed(plan, sender, message.relay, said, data)
  return undefined
}

/** What a handler is told besides the data. */
export function contextOf ({ face, request }: Sender, topic?: string, key?: string): object {
  return { connection: face, request, params: request.params ?? {}, topic, key }
}

/** What the schema's compiler makes of the data: with defaults, say, or of another type. */
async function checked (check: Check, data: unknown): Promise<unknown> {
  const { fault, value } = await check(data)
  if (fault !== undefined) throw new Fault('INVALID_DATA', fault)
  return value
}

async function joinedTopic ({ hub }: MessagesPlan, sender: Sender, named: unknown): Promise<TopicAt> {
  const at = topicNamed(hub, named)
  await mustBeIn(sender, at)
  return at
}

async function mustBeIn (sender: Sender, at: TopicAt): Promise<void> {
  if (!await sender.isIn(at)) throw notIn()
}

async function relayed (
  { hub }: MessagesPlan, sender: Sender, { to, replace }: Relay, { name, topic }: Said, data: unknown
): Promise<void> {
  const at = to(sender.request, topic)
  await mustBeIn(sender, at)
  await sender.authorize(at, 'publish')
  const sent = replace ? await replace(data, contextOf(sender, at.name)) : data ?? null
  if (sent === undefined) return
  // Threat: the topic may have been taken from it while the app was asked.
  await mustBeIn(sender, at)
  try {
    if (!replace) await mustFit(at, name, sent)
    await hub.publisher.relay(at, name, sent, sender.receiver)
  } catch (thrown) {
    const error = toError(thrown)
    if (!(error instanceof EventDataInvalid)) throw error
    if (replace) {
      sparing(sender.request).info({ err: error }, 'realtime: the data that a relay returned was not sent')
    }
    throw new Fault('INVALID_DATA', error.message)
  }
}
