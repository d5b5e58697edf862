/**
 * Clients that leave a source at a moment made up by a seed: before it is asked for, while it opens, in mid-answer, in mid-request.
 * Whatever the moment: each source that was opened is returned once, nothing is logged above info, and nothing is left of anybody.
 */
import { once } from 'node:events'
import { setTimeout as pause } from 'node:timers/promises'
import t, { type Test } from 'tap'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { SourceEvent } from '../../lib/index.ts'
import { dial, listen, type RawClient } from '../helpers/app.ts'
import { hubOf } from '../helpers/insides.ts'
import { until } from '../helpers/redis.ts'
import { logged, quiet, WARN } from '../helpers/sources.ts'
import { Random, seedOf, turns } from './random.ts'

const SCHEDULES = Number(process.env.SCHEDULES ?? 6)
const SEED = seedOf()
const CLIENTS = 60
/** Nothing of what is said is awaited for longer than that by a client that is to leave then. */
const MOST_BYTES = 3000

const FORMATS = { ours: undefined, data: 'data', ui: 'ui-message-stream', words: { end: '[DONE]', error: '[ERROR]' } } as const
const RUNS = { once: undefined, kept: { key: ({ params }: FastifyRequest) => (params as { id: string }).id }, begun: { start: 'POST' as const, key: ({ params }: FastifyRequest) => (params as { id: string }).id } }

/** Which sources were opened, and how often each was returned. */
class Sources {
  readonly opened: string[] = []
  readonly returned: string[] = []

  /** `kept`: it goes on without its client, and ends by itself. Others may go on for ever. */
  async * tell (seed: string, kept: boolean, signal: AbortSignal, word: (data: string) => string): AsyncGenerator<string> {
    const random = new Random(seed)
    this.opened.push(seed)
    try {
      const count = kept ? random.int(0, 12) : random.chance(0.5) ? random.int(0, 12) : Infinity
      for (let n = 0; n < count; n++) {
        await this.#wait(random, kept, signal)
        yield word('x'.repeat(random.int(0, 200)))
      }
    } finally {
      // What is cleaned up may take its time too.
      if (random.chance(0.3)) await turns(random.int(1, 5))
      this.returned.push(seed)
    }
  }

  async #wait (random: Random, kept: boolean, signal: AbortSignal): Promise<void> {
    const how = random.int(0, 4)
    if (how === 0) await turns(random.int(1, 20))
    if (how === 1) await pause(random.int(0, 4), undefined, { signal })
    if (how === 2 && !kept) await once(signal, 'abort')
    if (how === 3 && random.chance(0.2)) await pause(random.int(0, 8))
  }
}

function declare (app: FastifyInstance, sources: Sources): void {
  for (const [name, format] of Object.entries(FORMATS)) {
    for (const [kind, resumable] of Object.entries(RUNS)) {
      app.stream(`/${name}/${kind}/:id`, {
        method: ['GET', 'POST'],
        format: format as 'data',
        ...resumable && { resumable },
        source: ({ params }, { signal }) => sources.tell(params.id, kind !== 'once', signal, (data) => format ? data : { data } as SourceEvent as string)
      })
    }
  }
}

/** Leaves at its moment, in its way. */
async function come (t: Test, app: FastifyInstance, random: Random, id: string): Promise<RawClient> {
  const client = await dial(t, app, { half: random.chance(0.2) })
  const method = random.pick(['GET', 'POST'])
  const line = `${method} /${random.pick(Object.keys(FORMATS))}/${random.pick(Object.keys(RUNS))}/${id} HTTP/1.1`
  const body = method === 'POST' ? '{"question":"Fish?"}' : ''
  const request = `${line}\r\nhost: localhost\r\naccept: text/event-stream\r\n${body && `content-type: application/json\r\ncontent-length: ${body.length}\r\n`}\r\n${body}`
  const moment = random.int(0, 3)
  client.send(moment === 0 ? request.slice(0, random.int(0, request.length - 1)) : request)
  if (moment === 1) await turns(random.int(0, 30))
  if (moment === 2) await heard(client, random.int(1, MOST_BYTES))
  if (moment === 3) await pause(random.int(0, 20))
  random.pick([() => client.socket.destroy(), () => client.socket.resetAndDestroy(), () => client.socket.end()])()
  return client
}

/** So many bytes, or all there are, or as many as come soon. */
async function heard (client: RawClient, bytes: number): Promise<void> {
  const late = pause(50)
  while (client.text.length < bytes && !client.socket.destroyed) {
    if (await Promise.race([once(client.socket, 'data').catch(() => {}), client.closed, late.then(() => 'late')]) === 'late') return
  }
}

for (let n = 0; n < SCHEDULES; n++) {
  const seed = (SEED + n) >>> 0
  t.test(`clients leave as they like: SEED=${seed}`, { timeout: 60_000 }, async (t) => {
    const random = new Random(seed)
    const { app, log } = await logged(t, { heartbeat: random.pick([20, 25_000]) })
    const sources = new Sources()
    declare(app, sources)
    await listen(app)
    const clients = await Promise.all(Array.from({ length: CLIENTS }, async (_, i) => {
      await turns(random.int(0, 40))
      return await come(t, app, new Random(`${seed} ${i}`), `${seed}-${i}`)
    }))
    await Promise.all(clients.map(async (client) => await client.letGo()))
    await until('the return of each source', () => sources.returned.length >= sources.opened.length)
    await until('the end of each client', () => hubOf(app).clients.size === 0)
    t.same(sources.returned.toSorted(), sources.opened.toSorted(), `SEED=${seed}: each once`)
    t.equal(new Set(sources.opened).size, sources.opened.length, `SEED=${seed}: none was opened twice`)
    t.ok(sources.opened.length > CLIENTS / 4, 'many were opened')
    t.same(log.lines.filter(({ level }) => Number(level) >= WARN), [], `SEED=${seed}`)
    await until('the end of each topic', () => app.realtime.stats().topics === 0)
    quiet(t, app)
    await app.close()
    t.equal(sources.returned.length, sources.opened.length)
  })
}
