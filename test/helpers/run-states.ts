/**
 * The table of begun runs: what is given to whoever asks for one, in each of its states, in each way, in each format. The tests have
 * it on memory and on Redis.
 */
import { once } from 'node:events'
import { connect } from 'node:net'
import type { Test } from 'tap'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { Adapter, SourceEvent } from '../../lib/index.ts'
import { ownershipOf } from '../../lib/core/adapter.ts'
import { encodeSegment } from '../../lib/core/topics/pattern.ts'
import { answerOf, type Answer } from './answers.ts'
import { gate, portOf, RawClient } from './app.ts'
import { until } from './redis.ts'

const FORMATS = {
  words: { end: '[DONE]', error: '[ERROR]' }, data: 'data', ours: undefined
} as const

/** What a source does, by the query of its POST, behind its first words. */
type Then = 'speaks' | 'ends' | 'throws' | 'says too much' | 'is silent' | 'refuses' | 'refuses when told'

/** When a source goes on, by its key. */
export class Gates {
  readonly #gates = new Map<string, ReturnType<typeof gate<unknown>>>()
  #open = false

  of (id: string): ReturnType<typeof gate<unknown>> {
    const found = this.#gates.get(id) ?? gate<unknown>()
    this.#gates.set(id, found)
    if (this.#open) found.open(undefined)
    return found
  }

  /** Those too that nobody waits at yet. */
  openAll (): void {
    this.#open = true
    for (const { open } of this.#gates.values()) open(undefined)
  }
}

/** How long a run is kept, ms. */
const KEPT = 600_000

/** `/<format>-<kept>/<key>` */
export function declare (app: FastifyInstance, gates: Gates): void {
  for (const [name, format] of Object.entries(FORMATS)) {
    for (const maxAge of [KEPT, 1]) {
      const space = `${name}-${maxAge}`
      app.stream(`/${space}/:id`, {
        method: ['GET', 'POST'],
        format: format as 'data',
        resumable: { start: 'POST', space, key: ({ params }) => params.id, maxAge, maxBytes: 1000 },
        source: (request, { signal }) => say(request, signal, gates, (data) => format ? data : { data } as SourceEvent as string)
      })
    }
  }
}

async function * say (
  { params, query }: FastifyRequest, signal: AbortSignal, gates: Gates, word: (data: string) => string
): AsyncGenerator<string> {
  const { then } = query as { then: Then }
  const told = async (): Promise<unknown> => await Promise.race([gates.of((params as { id: string }).id).passed, once(signal, 'abort')])
  const refusal = Object.assign(new Error('no credit'), { statusCode: 402 })
  if (then === 'refuses') throw refusal
  if (then === 'is silent' || then === 'refuses when told') await told()
  if (then === 'refuses when told') throw refusal
  yield word('one')
  yield word('two')
  await told()
  if (then === 'throws') throw new Error('the model is gone')
  if (then === 'says too much') yield word('x'.repeat(2000))
  if (then === 'ends' || signal.aborted) return
  yield word('three')
}

const ALL = 'one two three END'
const HALF = 'one two BROKEN'

/** What is given to a GET, to whoever comes with the place of the first word, and to whoever has listened all the time. */
interface Given { readonly get?: string, readonly comesBack?: string, readonly listens?: string }

/** `reach`: what brings a run from its first words into this state; without it, it goes on when it was asked for. */
interface State extends Given { readonly then: Then, readonly maxAge?: 1, readonly reach?: keyof Reaching | 'told' }

const BROKEN_OFF: Given = { get: HALF, comesBack: 'two BROKEN', listens: HALF }
const NOTHING: Given = { get: '204', comesBack: '204' }

const STATES: Readonly<Record<string, State>> = {
  'begun, and not claimed': { then: 'speaks', reach: 'held', get: ALL, comesBack: ALL },
  'claimed, and silent': { then: 'is silent', get: ALL, comesBack: ALL, listens: ALL },
  speaking: { then: 'speaks', get: ALL, comesBack: 'two three END', listens: ALL },
  ended: { then: 'ends', reach: 'told', get: '204', comesBack: 'two END', listens: 'one two END' },
  stopped: { then: 'speaks', reach: 'stopped', get: '204', comesBack: 'two END', listens: 'one two END' },
  failed: { then: 'throws', reach: 'told', ...BROKEN_OFF },
  'too large': { then: 'says too much', reach: 'told', ...BROKEN_OFF },
  'broken off': { then: 'speaks', reach: 'lost', ...BROKEN_OFF },
  'broken off by a node that closes': { then: 'speaks', reach: 'closed', ...BROKEN_OFF },
  'broken off before its first word': { then: 'is silent', reach: 'lost', ...NOTHING, listens: 'BROKEN' },
  'failed before its first word': { then: 'refuses', ...NOTHING },
  'failed before its first word, and somebody listens': { then: 'refuses when told', reach: 'told', listens: 'BROKEN' },
  'ended, and forgotten': { then: 'ends', maxAge: 1, reach: 'told', ...NOTHING },
  'failed, and forgotten': { then: 'throws', maxAge: 1, reach: 'told', ...NOTHING }
}

/** Who runs the sources, who is asked for them, and what else brings a run into a state. */
export interface House extends Partial<Reaching> {
  readonly port: number
  readonly asker: FastifyInstance
  readonly adapter: Adapter
  readonly gates: Gates
}

interface Reaching {
  /** Whatever begins now is held up before its claim, until the function is called. */
  held (): () => void
  stopped (run: { key: string, space: string }): Promise<unknown>
  /** Nobody runs what runs now, and nobody has said its end. */
  lost (): unknown
  closed (): Promise<unknown>
}

const WAYS = {
  GET: 'get', HEAD: 'get', 'GET with a place': 'comesBack', 'POST with a place': 'comesBack', listens: 'listens'
} as const satisfies Record<string, keyof Given>

interface Run {
  readonly key: string
  readonly space: string
  readonly format: string
  readonly way: keyof typeof WAYS
  readonly given: string
  readonly url: string
}

let keys = 0

/** The states that this house can reach. */
export function statesOf (house: Partial<Record<keyof Reaching, unknown>>): string[] {
  return Object.entries(STATES).filter(([, { reach }]) => !reach || reach === 'told' || house[reach]).map(([name]) => name)
}

export async function checkState (t: Test, house: House, name: string): Promise<void> {
  const state = STATES[name] as State
  const goOn = state.reach === 'held' ? house.held?.() : undefined
  const begun = await Promise.all(runsOf(state).map(async (run) => ({ run, ...await begin(t, house, state, run) })))
  const tell = (): void => { for (const { run } of begun) house.gates.of(run.key).open(undefined) }
  if (state.reach === 'told') tell()
  // Where nobody listens, nobody says its end before it is asked for.
  if (state.reach === 'lost') for (const { run, post } of begun) if (run.way !== 'listens') post.socket.destroy()
  if (state.reach === 'lost' || state.reach === 'closed') await (house[state.reach] as () => unknown)()
  if (state.reach === 'stopped') for (const { run } of begun) await house.stopped?.(run)
  for (const { run } of begun) if (run.way !== 'listens') await reached(house, state, run)
  let arrived = 0
  house.asker.server.on('request', () => { arrived++ })
  const asked = await Promise.all(begun.map(async ({ run, place, listener }) => listener ?? await ask(t, house, run, place)))
  if (goOn) await until('their requests', () => arrived >= begun.length)
  goOn?.()
  if ((!state.reach || goOn) && state.then !== 'refuses') {
    for (const client of asked) await client.until(' 200 ')
    tell()
  }
  for (const [n, client] of asked.entries()) {
    await client.closed
    const { format, way, given } = (begun[n] as { run: Run }).run
    const outcome = outcomeOf(format, answerOf(client.text))
    t.equal(way === 'HEAD' ? outcome === '204' : outcome, way === 'HEAD' ? given === '204' : given, `${format}: ${way}`)
  }
}

function runsOf (state: State): Run[] {
  return Object.keys(FORMATS).flatMap((format) => (Object.keys(WAYS) as Array<keyof typeof WAYS>).flatMap((way) => {
    const given = state[WAYS[way]]
    if (given === undefined) return []
    const [key, space] = [String(++keys), `${format}-${state.maxAge ?? KEPT}`]
    return { key, space, format, way, given, url: `/${space}/${key}` }
  }))
}

/** It has said its first words, if it says any, and is listened to. */
async function begin (
  t: Test, { port, asker }: House, { then, reach }: State, { way, url }: Run
): Promise<{ post: RawClient, place: string, listener: RawClient | undefined }> {
  const post = await dialTo(t, port)
  post.ask(`POST ${url}?then=${encodeURIComponent(then)}`, { connection: 'close' })
  const speaks = then !== 'is silent' && !then.startsWith('refuses') && reach !== 'held'
  if (speaks) await post.until('two')
  else if (then === 'refuses') await post.closed
  const listener = way === 'listens' ? await listen(t, asker, url) : undefined
  if (listener) await listener.until(speaks ? 'two' : '200')
  return { post, place: /^id: (\S+)\n(?:data: one)/m.exec(answerOf(post.text).body)?.[1] ?? '1-0.unknown', listener }
}

/** A run that is begun on another node may not be known here yet. */
async function listen (t: Test, asker: FastifyInstance, url: string): Promise<RawClient> {
  for (;;) {
    const client = await dialTo(t, portOf(asker))
    client.ask(`GET ${url}`, { connection: 'close' })
    await client.until(/ (200|204) /)
    if (client.text.includes(' 200 ')) return client
  }
}

/** Its state is known to every node. */
async function reached ({ adapter }: House, { then, reach, maxAge }: State, run: Run): Promise<void> {
  const topic = await topicOf(adapter, run)
  const owner = async (): Promise<string | undefined> => await ownershipOf(adapter)?.owner(topic)
  const isOver = async (): Promise<boolean> => ['over', 'broken-off'].includes(await owner() ?? '')
  if (maxAge) await until('the end of its history', async () => await owner() === undefined && (await adapter.read(topic, null, { count: 1, bytes: 1 })).events.length === 0)
  else if (reach === 'lost') await until('the end of its lease', async () => await owner() === undefined || await isOver())
  else if (then === 'refuses') await until('the end of its lease', async () => await owner() === undefined)
  else if (reach && reach !== 'held') await until('its end', isOver)
}

/** A space and a key of these tests stand in the names as they are. */
async function topicOf (adapter: Adapter, { key, space }: Run): Promise<string> {
  const { events } = await adapter.read(`realtime:present/${space}/${key}`, null, { count: 8, bytes: 1 << 16 })
  return `realtime:runs/${space}/${encodeSegment(`${Buffer.from(events.at(-1)?.data ?? []).toString()} ${key}`)}`
}

async function ask (t: Test, { asker }: House, { way, url }: Run, place: string): Promise<RawClient> {
  const client = await dialTo(t, portOf(asker))
  const [method] = way.split(' ')
  client.ask(`${method} ${url}?then=speaks`, { connection: 'close', ...way.includes('place') && { 'last-event-id': place } })
  return client
}

async function dialTo (t: Test, port: number): Promise<RawClient> {
  const socket = connect(port, '127.0.0.1')
  t.teardown(() => { socket.destroy() })
  await once(socket, 'connect')
  return new RawClient(socket, socket)
}

/** The words, and how it was told that there are no more. */
function outcomeOf (format: string, { status, body, whole }: Answer): string {
  if (status !== 200) return String(status)
  const said = Array.from(body.matchAll(/^data: (one|two|three)$/gm), ([, word]) => word)
  return [...said, endOf(format, body, whole)].join(' ')
}

function endOf (format: string, body: string, whole: boolean): string {
  if (format === 'data') return whole ? 'END' : 'BROKEN'
  const end = format === 'words' ? 'data: [DONE]\n\n' : /event: realtime:end\ndata: .*\n\n$/.exec(body)?.[0] ?? 'no end'
  // An EventSource is sent away to come back.
  const error = format === 'words' ? 'data: [ERROR]\n\n' : /(event: realtime:aborted\ndata: .*|\n\nretry: \d+)\n\n$/.exec(body)?.[0] ?? 'no end'
  return !whole ? 'cut' : body.endsWith(end) ? 'END' : body.endsWith(error) ? 'BROKEN' : 'no end'
}
