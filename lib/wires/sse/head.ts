/**
 * What a stream says to HEAD: what it would say to GET, and no stream. An EventSource cannot say why it was refused.
 */
import { Readable } from 'node:stream'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { readCursor } from '../../core/cursor.ts'
import { Closed } from '../../errors.ts'
import { anonymous, judge } from '../../routes/standing.ts'
import { presentRun, runFor } from './run.ts'
import { lastEventId } from './last-event-id.ts'
import type { StreamPlan } from './start.ts'

export const HEADERS = {
  'content-type': 'text/event-stream',
  // no-transform also keeps compressing proxies, and @fastify/compress, away.
  'cache-control': 'no-cache, no-transform',
  'x-accel-buffering': 'no'
} as const

/** Asks whom GET would ask, but `onConnect`, and starts nothing. */
export async function head (plan: StreamPlan, request: FastifyRequest, reply: FastifyReply): Promise<void> {
  const { hub, peers } = plan.context
  if (hub.stopping) throw new Closed()
  const place = peers.admit(request)
  place.keepOrigin()
  try {
    const { identity = anonymous('') } = await judge(plan.context, request, plan.topicsFor)
    peers.identify(request, place, identity)
    if (await isOver(plan, request, identity)) reply.code(204).send()
    else reply.headers(HEADERS).send(Readable.from([]))
  } finally {
    place.giveBack()
  }
}

/** The client has had all of a run that has ended. */
async function isOver (
  { context, resumable }: StreamPlan, request: FastifyRequest, identity: { readonly id: string }
): Promise<boolean> {
  if (!resumable) return false
  const { hub, runs } = context
  const at = resumable.start
    ? await presentRun(context, resumable, request, (lastEventId(request) ?? '') !== '')
    : runs.at(await runFor(hub, resumable, request, identity))
  if (!at) return true
  const cursor = readCursor(lastEventId(request), 1)(at.name)
  return typeof cursor === 'object' && await runs.over(at, cursor.id)
}
