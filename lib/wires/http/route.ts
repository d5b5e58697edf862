/** A channel for clients without WebSockets: a POST that opens a stream of frames, and one for each message. */
import type { FastifyInstance, FastifyReply, FastifyRequest, preParsingHookHandler } from 'fastify'
import { statusOf, toError } from '../../core/callbacks.ts'
import { jsonOf } from '../../core/payload.ts'
import { Closed, MessageTooLarge, NotAcceptable } from '../../errors.ts'
import { makeRoutes, type RouteCollector } from '../../routes/collector.ts'
import { judge } from '../../routes/standing.ts'
import { wantsEventStream } from '../sse/accept.ts'
import { Encoders } from '../sse/encode.ts'
import { answerError, answerWith, arrive, hasLeft, isTemporary, takeOver } from '../sse/route.ts'
import { Fault } from '../websocket/fault.ts'
import { carryOut, contextOf } from '../websocket/message.ts'
import { checkOrigin } from '../websocket/origin.ts'
import type { Asked } from '../websocket/protocols/protocol.ts'
import type { CarriedChannel } from '../websocket/route.ts'
import { refusalOf } from './answer.ts'
import { addParser, besides, mediaType, readAsBytes } from './body.ts'
import { envelopeFor } from './frames.ts'
import { OpenStart, type OpenPlan } from './open.ts'
import { RequestRates } from './rates.ts'
import { RequestSender } from './sender.ts'

interface Plan extends CarriedChannel, OpenPlan {
  readonly kind: 'sse'
  readonly rates: RequestRates
}

/** A name among the `topics` of an `open`, quoted (255 bytes, which JSON may double). */
const TOPIC_BYTES = 513

/** Adds the POST of a channel. */
export function channelOverHttp (collector: RouteCollector) {
  return (channel: CarriedChannel, scope: FastifyInstance, route: { [option: string]: unknown, url: string }): void => {
    const { context, limits, hub, maxTopics, bodyLimit } = channel
    const plan: Plan = {
      ...channel,
      kind: 'sse',
      rates: new RequestRates(limits, hub),
      encoders: new Encoders(),
      retry: context.settings.retry,
      open: false,
      source: undefined,
      format: undefined,
      resumable: undefined
    }
    addParser(scope)
    const made = makeRoutes(scope, collector, {
      ...route,
      method: 'POST',
      bodyLimit: bodyLimit + maxTopics * TOPIC_BYTES,
      onRequest: [context.posts.onRequest, ...[route.onRequest ?? []].flat()],
      preParsing: [mayEnter(plan), ...[route.preParsing ?? []].flat()],
      handler: (request: FastifyRequest, reply: FastifyReply) => {
        if (hasLeft(request, reply)) return
        answer(plan, request, reply).catch((error: unknown) => refuse(plan, request, reply, error))
      }
    })
    for (const one of made) {
      // Behind every onSend hook that others have added: it takes the response over.
      one.onSend = [...[one.onSend ?? []].flat(), takeOver]
      one.onResponse = [...[one.onResponse ?? []].flat(), context.arrivals.onResponse]
    }
  }
}

/** Behind the hooks that see each request, and before anything of it is read. */
function mayEnter (plan: Plan): preParsingHookHandler {
  return (request, _reply, payload, done) => {
    try {
      checkOrigin(plan, request)
      mediaType(request)
      readAsBytes(request)
      done(null, payload)
    } catch (error) {
      done(toError(error))
    }
  }
}

async function answer (plan: Plan, request: FastifyRequest, reply: FastifyReply): Promise<void> {
  if (plan.hub.stopping) throw new Closed()
  const body = request.body as Buffer
  if (mediaType(request) === 'application/octet-stream') return await takeBytes(plan, request, reply, body)
  const text = body.toString()
  const asked = envelopeFor(false).read(text, plan.maxCursors)
  const { topics, connection } = besides(text, plan.maxTopics)
  if (asked.do === 'message') return await takeMessage(plan, request, reply, { asked, body, connection })
  if (asked.do !== 'open') throw new Fault('INVALID_FRAME', 'over HTTP a client can only send messages and "open"')
  if (!wantsEventStream(request.headers.accept, false)) throw new NotAcceptable()
  const { cursors, token } = asked
  await arrive(plan, request, reply, (_plan, _request, _reply, arrival) =>
    new OpenStart(plan, request, reply, arrival, { cursors, token, topics }), true)
}

interface Sent {
  readonly asked: Asked & { do: 'message' }
  readonly body: Buffer
  readonly connection: string | undefined
}

async function takeMessage (
  plan: Plan, request: FastifyRequest, reply: FastifyReply, { asked, body, connection }: Sent
): Promise<void> {
  try {
    const sender = await senderOf(plan, request, body, connection)
    tell(reply, jsonOf(undefined, asked.name, await carryOut(plan, sender, asked)))
  } catch (error) {
    throw refusalOf(request, error)
  }
}

async function takeBytes (plan: Plan, request: FastifyRequest, reply: FastifyReply, body: Buffer): Promise<void> {
  if (!plan.binary) throw new Fault('BINARY_UNSUPPORTED', 'this channel does not accept binary messages')
  try {
    await plan.binary(body, contextOf(await senderOf(plan, request, body, undefined)))
    tell(reply, 'null')
  } catch (error) {
    throw refusalOf(request, error)
  }
}

/** @throws MessageTooLarge, Fault, and what the client is refused by */
async function senderOf (
  plan: Plan, request: FastifyRequest, { byteLength }: Buffer, connection: string | undefined
): Promise<RequestSender> {
  const { messageBytes } = plan.limits
  if (byteLength > messageBytes) throw new MessageTooLarge(byteLength, messageBytes)
  const judged = await judge(plan.context, request, plan.topicsFor)
  const sender = new RequestSender(plan, request, judged, connection)
  const whose = plan.rates.tooMany(sender.face.identity, request)
  if (whose) throw new Fault('RATE_LIMITED', `too many messages of this ${whose}: slow down`)
  return sender
}

const ANSWER = { 'content-type': 'application/json; charset=utf-8', 'cache-control': 'no-store' }

function tell (reply: FastifyReply, json: string): void {
  if (reply.sent) return
  answerWith(reply, Buffer.from(json), ANSWER)
}

function refuse ({ hub }: Plan, request: FastifyRequest, reply: FastifyReply, thrown: unknown): void {
  if (reply.sent) return
  const error = thrown instanceof Fault ? refusalOf(request, thrown) : toError(thrown)
  if (statusOf(error) === 429) reply.header('retry-after', 1)
  if (isTemporary(error)) reply.header('retry-after', Math.ceil(hub.retryAfter() / 1000))
  if (hub.stopping && request.raw.httpVersionMajor === 1) reply.header('connection', 'close')
  answerError(reply, error)
}
