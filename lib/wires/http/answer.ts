/** What a client's request is answered where it cannot be carried out: a status, and the protocol's own word. */
import type { FastifyRequest } from 'fastify'
import { statusOf, toError } from '../../core/callbacks.ts'
import type { ErrorCode } from '../../protocol.ts'
import { Fault } from '../websocket/fault.ts'
import { faultOf, notNowOf } from '../websocket/told.ts'

const STATUS: { readonly [code in ErrorCode]?: number } = {
  UNKNOWN_MESSAGE: 404,
  UNKNOWN_TOPIC: 404,
  BINARY_UNSUPPORTED: 415,
  RATE_LIMITED: 429,
  INTERNAL: 500,
  UNAVAILABLE: 503
}

class Refusal extends Error {
  readonly code: string
  readonly statusCode: number

  constructor ({ code, message }: Fault, statusCode: number, cause: Error | undefined) {
    super(message, cause && { cause })
    this.code = code
    this.statusCode = statusCode
  }
}

/** An error of the app's that says what it is goes as it is. */
export function refusalOf (request: FastifyRequest, thrown: unknown): Error {
  const error = toError(thrown) as Error & { code?: unknown }
  if (error instanceof Fault) return new Refusal(error, STATUS[error.code as ErrorCode] ?? 400, undefined)
  const fault = notNowOf(request, error) ?? faultOf(request, error)
  if (fault.code === error.code) return error
  return new Refusal(fault, STATUS[fault.code as ErrorCode] ?? statusOf(error), error)
}
