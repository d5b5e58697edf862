/** Whose run of a resumable source a request asks for. */
import type { FastifyRequest } from 'fastify'
import type { Hub } from '../../core/hub.ts'
import { checkRunKey, ownRunOf, runOf, type RunParams } from '../../features/resumable/names.ts'
import type { Runs, RunSettings } from '../../features/resumable/runs.ts'
import { RunKeyMissing } from '../../errors.ts'
import type { MadeRoute } from '../../routes/collector.ts'

/** `resumable` of a route, checked. */
export interface ResumableOptions extends RunSettings {
  readonly key: ((request: FastifyRequest) => unknown) | undefined
  readonly space: string | undefined
}

export interface Resumable extends ResumableOptions {
  readonly space: string
  /** The route's, for errors. */
  readonly url: string
}

interface Identity { readonly id: string, readonly anonymous?: boolean }

/** Puts the route's runs into their space: the one that it names, or its own. */
export function placeRuns (runs: Runs, options: ResumableOptions, made: readonly MadeRoute[]): Resumable {
  // A prefix with "/" makes two routes of one: they are the same to whoever asks.
  const route = made.find(({ method }) => method !== 'HEAD') as MadeRoute
  const space = options.space ?? ownSpace(route)
  runs.spaces.add(space, route.url)
  return { ...options, space, url: route.url }
}

/** Its pattern. What makes another route of one pattern is said too, so that the two share nothing. */
function ownSpace ({ url, method, constraints }: MadeRoute): string {
  const methods = [...new Set([method].flat().map((one) => one.toUpperCase()))].sort().join(',')
  const constrained = Object.keys(constraints ?? {}).length === 0 ? '' : ` ${JSON.stringify(constraints, told)}`
  return `${methods === 'GET' ? '' : `${methods} `}${url}${constrained}`
}

const told = (_key: string, value: unknown): unknown => value instanceof RegExp ? String(value) : value

/** @throws RunKeyMissing, RunKeyInvalid, and what the app's `key` throws */
export async function runFor (
  { patience }: Pick<Hub, 'patience'>, { space, url, key }: Resumable, request: FastifyRequest, identity: Identity
): Promise<RunParams> {
  if (!key) return ownRunOf(space, String(identity.id), ownParams(url, request, identity))
  const given = await patience.call(`"resumable.key" of stream "${url}"`, () => key(request))
  return runOf(space, checkRunKey(`stream "${url}"`, given))
}

/**
 * What tells an identity's runs of a route apart: the decoded params, in the order of their names, so that another way
 * to write the same URL does not start a source anew.
 */
function ownParams (url: string, request: FastifyRequest, { anonymous }: Identity): Array<[string, string]> {
  if (request.method === 'POST') throw new RunKeyMissing(url, 'the URL of a POST does not say what is asked')
  // Threat: an anonymous client has no identity but its connection's; without one, what one was told anybody could
  // read.
  if (anonymous === true) throw new RunKeyMissing(url, 'the client is anonymous')
  return Object.entries(request.params ?? {})
    .sort(([a], [b]) => a < b ? -1 : 1)
    .map(([name, value]) => [name, plain(url, name, value)])
}

/** With its type: what a schema has made of a param may be a number. */
function plain (url: string, name: string, value: unknown): string {
  if (value !== null && ['object', 'function', 'symbol'].includes(typeof value)) {
    throw new RunKeyMissing(url, `its param "${name}" is an object`)
  }
  return `${typeof value} ${String(value)}`
}
