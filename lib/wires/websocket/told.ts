/** What a client is told of an error. */
import type { FastifyRequest } from 'fastify'
import { statusOf } from '../../core/callbacks.ts'
import { CallbackTimeout, Unavailable } from '../../errors.ts'
import type { ErrorCode } from '../../protocol.ts'
import { logRefusal } from '../../routes/refusal.ts'
import { sparing } from '../../routes/sparing-log.ts'
import { Fault } from './fault.ts'

/** Errors that clients know by the protocol's own words. */
const OWN_WORDS: ReadonlyMap<string, ErrorCode> = new Map(
  (['FORBIDDEN', 'TOKEN_INVALID', 'TOKEN_MISSING', 'EXPIRED', 'REVOKED'] satisfies ErrorCode[])
    .map((word) => [`FST_ERR_REALTIME_${word}`, word])
)

/** For what is the server's fault and only for now; undefined for all else. */
export function notNowOf (request: FastifyRequest, error: Error): Fault | undefined {
  if (!(error instanceof Unavailable || error instanceof CallbackTimeout)) return undefined
  logRefusal(sparing(request), error, 'realtime: a message could not be handled now')
  return new Fault('UNAVAILABLE', 'not available now; it is not known whether the message was handled')
}

export function faultOf (request: FastifyRequest, error: Error & { code?: unknown }): Fault {
  const { code, message } = error
  if (error instanceof Fault) return error
  const own = OWN_WORDS.get(String(code))
  if (own !== undefined) return new Fault(own, message)
  if (statusOf(error) < 500 && typeof code === 'string') return new Fault(code, message)
  sparing(request).error({ err: error }, 'realtime: a message handler failed')
  return new Fault('INTERNAL', 'the server failed')
}
