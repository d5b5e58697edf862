/** Whose run of a resumable source a request asks for. */
import type { FastifyRequest } from 'fastify'
import type { Hub } from '../../core/hub.ts'
import type { TopicAt } from '../../core/topics/topic.ts'
import { checkRunKey, ownRunOf, runOf, type RunParams } from '../../features/resumable/names.ts'
import type { RunKey } from '../../features/resumable/begun-runs.ts'
import type { Runs, RunSettings } from '../../features/resumable/runs.ts'
import { isGiven } from '../../features/resumable/states.ts'
import { RunKeyMissing } from '../../errors.ts'
import type { MadeRoute } from '../../routes/collector.ts'
import type { WireContext } from '../../routes/context.ts'

/** `resumable` of a route, checked. */
export interface ResumableOptions extends RunSettings {
  readonly key: ((request: FastifyRequest) => unknown) | undefined
  readonly space: string | undefined
  /** A POST begins a run, and ends the one before it; everything else joins the present one. */
  readonly start: 'POST' | undefined
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
  runs.spaces.add(space, route.url, options.start !== undefined)
  return { ...options, space, url: route.url }
}

/** Its pattern. What makes another route of one pattern is said too, so that the two share nothing. */
function ownSpace ({ url, method, constraints }: MadeRoute): string {
  const methods = [...new Set([method].flat().map((one) => one.toUpperCase()))].sort().join(',')
  const constrained = Object.keys(constraints ?? {}).length === 0 ? '' : ` ${JSON.stringify(constraints, told)}`
  return `${methods === 'GET' ? '' : `${methods} `}${url}${constrained}`
}

const told = (_key: string, value: unknown): unknown => value instanceof RegExp ? String(value) : value

/** The key that the app gives for a request. @throws RunKeyInvalid, and what the app's `key` throws */
export async function keyFor (
  { patience }: Pick<Hub, 'patience'>, { url, key, space }: Resumable, request: FastifyRequest
): Promise<RunKey> {
  const given = await patience.call(`"resumable.key" of stream "${url}"`, () => key?.(request))
  return { space, key: checkRunKey(`stream "${url}"`, given) }
}

/** @throws RunKeyMissing, RunKeyInvalid, and what the app's `key` throws */
export async function runFor (
  hub: Pick<Hub, 'patience'>, resumable: Resumable, request: FastifyRequest, identity: Identity
): Promise<RunParams> {
  const { space, url } = resumable
  if (!resumable.key) return ownRunOf(space, String(identity.id), ownParams(url, request, identity))
  return runOf(space, (await keyFor(hub, resumable, request)).key)
}

/** The present run of the key, for a client that joins; undefined where there is nothing for it. */
export async function presentRun (
  { hub, runs, begun }: Pick<WireContext, 'hub' | 'runs' | 'begun'>, resumable: Resumable, request: FastifyRequest,
  hasCursor: boolean
): Promise<TopicAt | undefined> {
  const run = await begun.present(await keyFor(hub, resumable, request))
  const at = run && runs.at(run)
  return at && isGiven(await runs.state(at, resumable), hasCursor) ? at : undefined
}

/**
 * What tells an identity's runs of a route apart: the decoded params, in the order of their names, so that another way
 * to write the same URL does not start a source anew.
 */
function ownParams (url: string, request: FastifyRequest, { anonymous }: Identity): Array<[string, string]> {
  if (request.method === 'POST') throw new RunKeyMissing(url, 'a POST has its question in the body, not in the URL')
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
    throw new RunKeyMissing(url, `the param "${name}" is an object`)
  }
  return `${typeof value} ${String(value)}`
}
