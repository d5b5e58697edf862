/** Runs that are begun by a POST, on several nodes: one is the present, whichever nodes began one at the same moment. */
import { once } from 'node:events'
import t, { type Test } from 'tap'
import type { FastifyInstance } from 'fastify'
import { redis } from '../../lib/adapters/redis/index.ts'
import { answerOf, ask, said } from '../helpers/answers.ts'
import { calls, dial, listen, live, type RawClient } from '../helpers/app.ts'
import { RedisServer } from '../helpers/redis.ts'
import { Random, seedOf } from '../random/random.ts'

const server = await RedisServer.start(t)
let prefixes = 0

interface Node { app: FastifyInstance, running: Set<string> }

/** Answers never end by themselves. */
async function nodes (t: Test): Promise<[Node, Node]> {
  const prefix = `begun${prefixes++}:`
  return await Promise.all(['a', 'b'].map(async (name) => {
    const app = await live(t, { adapter: redis({ url: server.url, prefix }) })
    const running = new Set<string>()
    app.stream('/chat/:id', {
      method: ['GET', 'POST'],
      format: { end: '[DONE]', error: '[ERROR]' },
      resumable: { start: 'POST', key: ({ params }) => params.id },
      async * source ({ query }, { signal }) {
        const { n } = query as { n: string }
        running.add(n)
        try {
          yield `answer ${n} of ${name}`
          await once(signal, 'abort')
        } finally {
          running.delete(n)
        }
      }
    })
    await listen(app)
    return { app, running }
  })) as [Node, Node]
}

async function talk (t: Test, { app }: Node, line: string): Promise<RawClient> {
  const client = await dial(t, app)
  return client.ask(line, { connection: 'close' })
}

const words = (client: RawClient): string => said(answerOf(client.text)).replace(/^id: \S+\n/gm, '')

t.test('another node joins the run, ends it by a POST of its own, and stops what a third began', async (t) => {
  const [a, b] = await nodes(t)
  const first = await talk(t, a, 'POST /chat/1?n=1')
  await first.until('answer 1 of a')
  const tab = await talk(t, b, 'GET /chat/1')
  await tab.until('answer 1 of a')
  const second = await talk(t, b, 'POST /chat/1?n=2')
  await Promise.all([first.closed, tab.closed])
  for (const client of [first, tab]) t.equal(words(client), 'data: answer 1 of a\n\ndata: [DONE]\n\n')
  await second.until('answer 2 of b')
  t.equal(await a.app.realtime.stop('1'), true)
  await second.closed
  t.equal(words(second), 'data: answer 2 of b\n\ndata: [DONE]\n\n')
  for (const { app, running } of [a, b]) {
    t.equal((await ask(t, app, 'GET /chat/1')).status, 204)
    t.equal(running.size, 0)
  }
})

t.test('at random: POSTs at once on both nodes leave one run, which both nodes give to who joins', async (t) => {
  const seed = seedOf()
  t.comment(`SEED=${seed}`)
  const random = new Random(seed)
  const all = await nodes(t)
  for (let round = 0; round < 12; round++) {
    const count = random.int(2, 6)
    const ended = calls<RawClient>()
    const clients = await Promise.all(Array.from({ length: count }, async (_, n) => await talk(t, random.pick(all), `POST /chat/${round}?n=${n}`)))
    for (const client of clients) client.closed.then(() => ended.note(client), () => {})
    await ended.reach(count - 1)
    const [left] = clients.filter((client) => !ended.all.includes(client)) as [RawClient]
    await left.until(/answer \d of [ab]\n\n/)
    const [present] = /answer \d of [ab]/.exec(left.text) as RegExpExecArray
    for (const node of all) {
      const tab = await talk(t, node, `GET /chat/${round}`)
      await tab.until(/answer/)
      t.match(words(tab), present, `SEED=${seed}, round ${round}`)
      tab.socket.destroy()
    }
    t.equal([...all[0].running, ...all[1].running].length, 1, `SEED=${seed}, round ${round}: one source runs`)
    for (const client of ended.all) t.match(words(client), /data: \[DONE\]\n\n$/)
    t.equal(await random.pick(all).app.realtime.stop(String(round)), true)
    await left.closed
  }
})
