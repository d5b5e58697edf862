/**
 * Whose POST is cut, at each point of its way, from when its run is begun to the middle of its answer: the run of a client that has
 * left is given up until its source is asked for, and goes on from then. The tests have it on memory and on Redis.
 */
import type { Test } from 'tap'
import type { FastifyInstance } from 'fastify'
import type { Adapter } from '../../lib/index.ts'
import { answerOf, said } from './answers.ts'
import { dial, gate, type RawClient } from './app.ts'
import { until } from './redis.ts'

const [RUNS, PRESENT] = [/^realtime:runs\//, /^realtime:present\//]

/** Where the node waits for its adapter when the client is cut; or for its model. */
interface Call { readonly call: 'claim' | 'publish' | 'subscribe' | 'read', readonly of: RegExp, readonly nth: number }
type Point = { readonly at: Call | 'opening' | 'answering', readonly goesOn: boolean }

const POINTS: Readonly<Record<string, Point>> = {
  'its run is reserved': { at: { call: 'claim', of: RUNS, nth: 1 }, goesOn: false },
  'its run becomes the present one': { at: { call: 'publish', of: PRESENT, nth: 1 }, goesOn: false },
  'it takes its place in the run': { at: { call: 'subscribe', of: RUNS, nth: 1 }, goesOn: false },
  'what it missed is looked for': { at: { call: 'read', of: RUNS, nth: 1 }, goesOn: false },
  'its run is claimed': { at: { call: 'claim', of: RUNS, nth: 2 }, goesOn: true },
  'what its run has said is looked for': { at: { call: 'read', of: RUNS, nth: 2 }, goesOn: true },
  'its run is looked at once more': { at: { call: 'read', of: PRESENT, nth: 2 }, goesOn: true },
  'its source opens': { at: 'opening', goesOn: true },
  'it is answered': { at: 'answering', goesOn: true }
}

const CUTS = {
  'the client leaves': (client: RawClient) => { client.socket.destroy() },
  'the server cuts it': (_client: RawClient, { server }: FastifyInstance) => { server.closeAllConnections() }
}

class Model {
  readonly opened = gate()
  readonly begins = gate()
  readonly goesOn = gate()
  asked = 0
  aborted = 0

  async * answer (signal: AbortSignal): AsyncGenerator<string> {
    this.asked++
    signal.addEventListener('abort', () => { this.aborted++ })
    this.opened.open()
    await this.begins.passed
    yield 'one'
    await this.goesOn.passed
    yield 'two'
  }
}

/** `owner` is asked, and cut. `asker` is asked for the run: the same node, or another. */
export interface CutHouse { readonly owner: FastifyInstance, readonly asker: FastifyInstance, readonly adapter: Adapter, readonly model: Model }

export function declareChat (app: FastifyInstance, model: Model): void {
  app.stream('/chat/:id', {
    method: ['GET', 'POST'],
    format: { end: '[DONE]', error: '[ERROR]' },
    resumable: { start: 'POST', key: ({ params }) => params.id },
    source: (_request, { signal }) => model.answer(signal)
  })
}

export function checkCuts (t: Test, build: (t: Test, model: Model) => Promise<CutHouse>): void {
  for (const [name, point] of Object.entries(POINTS)) {
    for (const [how, cut] of Object.entries(CUTS)) {
      t.test(`${how} while ${name}`, { timeout: 60_000 }, async (t) => {
        await checkCut(t, await build(t, new Model()), point, cut)
      })
    }
  }
}

async function checkCut (t: Test, house: CutHouse, { at, goesOn }: Point, cut: (typeof CUTS)[keyof typeof CUTS]): Promise<void> {
  const { owner, asker, adapter, model } = house
  const { reached, release } = typeof at === 'object' ? heldUp(adapter, at) : { reached: model.opened.passed, release: () => {} }
  if (at === 'answering') model.begins.open()
  const client = await dial(t, owner)
  client.ask('POST /chat/1', { 'content-length': '0' })
  await reached
  if (at === 'answering') await client.until('one')
  // A socket calls itself closed a while before it says so to the server.
  const left = new Promise((resolve) => client.peer.once('close', resolve))
  cut(client, owner)
  await left
  if (!goesOn) {
    release()
    await until('its end', async () => (await asker.inject({ method: 'HEAD', url: '/chat/1' })).statusCode === 204)
    t.equal(model.asked, 0)
    return
  }
  // Before anything of it goes on: whoever asks now must find it.
  const tab = await dial(t, asker)
  tab.ask('GET /chat/1', { connection: 'close' })
  await tab.until(' 200 ')
  release()
  model.begins.open()
  await tab.until('one')
  model.goesOn.open()
  await tab.closed
  t.equal(said(answerOf(tab.text)).replace(/^id: \S+\n/gm, ''), 'data: one\n\ndata: two\n\ndata: [DONE]\n\n')
  t.same([model.asked, model.aborted], [1, 0])
}

/** Holds up that call of the adapter, and no other. */
function heldUp (adapter: Adapter, { call, of, nth }: Call): { reached: Promise<void>, release: () => void } {
  const [reached, going] = [gate(), gate()]
  const original = Reflect.get(adapter, call) as (topic: string, ...rest: unknown[]) => Promise<unknown>
  let count = 0
  Reflect.set(adapter, call, async (topic: string, ...rest: unknown[]) => {
    if (of.test(topic) && ++count === nth) {
      reached.open()
      await going.passed
    }
    return await original.call(adapter, topic, ...rest)
  })
  return { reached: reached.passed, release: going.open }
}
