/** The options of `subscribe()`. */
import type { FastifyRequest } from 'fastify'
import type { SlowPolicy } from '../../core/connection/slow-client.ts'
import { OptionInvalid } from '../../errors.ts'
import { onlyKnown, record } from '../../known.ts'
import { integer, oneOf, SLOW_POLICIES } from '../../options.ts'
import type { SubscribeOptions } from '../../types/topic.ts'

export interface SubscribeSettings {
  readonly after: string | undefined
  readonly signal: AbortSignal | undefined
  readonly request: FastifyRequest | undefined
  readonly slow: SlowPolicy
  readonly maxBuffered: number
}

const KNOWN: ReadonlySet<string> = new Set([
  'after', 'signal', 'request', 'slow', 'maxBuffered'
] satisfies Array<keyof SubscribeOptions>)

/** @throws OptionInvalid */
export function readSubscribeOptions (options: unknown, maxBuffered: number): SubscribeSettings {
  const given = options ?? {}
  if (typeof given === 'function') {
    throw new OptionInvalid('subscribe()',
      'does not take a function. Iterate: for await (const item of topic.subscribe(params))')
  }
  record('subscribe()', given)
  onlyKnown('subscribe()', given, KNOWN)
  const { after, signal, request, slow, maxBuffered: most } = given as SubscribeOptions
  if (typeof (after ?? '') !== 'string') throw new OptionInvalid('subscribe().after', 'must be the id of an event')
  if (signal !== undefined && !isSignal(signal)) {
    throw new OptionInvalid('subscribe().signal', 'must be an AbortSignal')
  }
  if (request !== undefined && !isRequest(request)) {
    throw new OptionInvalid('subscribe().request', 'must be the FastifyRequest of the client')
  }
  return {
    after: after ?? undefined,
    signal,
    request,
    slow: oneOf('subscribe().slow', slow ?? 'replay', SLOW_POLICIES),
    maxBuffered: integer('subscribe().maxBuffered', most ?? maxBuffered, 1024)
  }
}

/** Not by its class: a test runner may have another one of that name. */
function isSignal (value: unknown): value is AbortSignal {
  const { aborted, addEventListener } = (value ?? {}) as Partial<AbortSignal>
  return typeof aborted === 'boolean' && typeof addEventListener === 'function'
}

function isRequest (value: unknown): value is FastifyRequest {
  const { raw, headers, log } = (value ?? {}) as Partial<FastifyRequest>
  return typeof raw === 'object' && typeof headers === 'object' && typeof log === 'object'
}
