/** HEAD of a stream has the status that GET would have, and starts nothing: it is how a page learns why its EventSource gave up. */
import type { FastifyInstance, FastifyRequest } from 'fastify'
import t from 'tap'
import type { RealtimeOptions } from '../../../lib/index.ts'
import { connectStream } from '../../../lib/testing/index.ts'
import { live, type ServerOptions } from '../../helpers/app.ts'

const SSE = { accept: 'text/event-stream' }

interface Case {
  name: string
  status: number
  options?: RealtimeOptions
  server?: ServerOptions
  build: (app: FastifyInstance) => unknown
  headers?: Record<string, string>
  url?: string
}

const refusing = (statusCode: number) => () => { throw Object.assign(new Error('no'), { statusCode }) }
const topic = (app: FastifyInstance, options = {}) => app.topic('news', options)

const cases: Case[] = [
  { name: 'a stream', status: 200, build: (app) => app.stream('/x', { topics: topic(app) }) },
  { name: 'a stream of an app that makes no HEAD routes', status: 200, server: { exposeHeadRoutes: false }, build: (app) => app.stream('/x', { topics: topic(app) }) },
  { name: 'a source', status: 200, build: (app) => app.stream('/x', { source: () => [] }) },
  { name: 'nothing', status: 404, build: () => {} },
  { name: 'a hook that refuses', status: 401, build: (app) => app.stream('/x', { topics: topic(app), onRequest: async () => refusing(401)() }) },
  { name: 'a preHandler that answers', status: 410, build: (app) => app.stream('/x', { topics: topic(app), preHandler: async (_request, reply) => await reply.code(410).send({}) }) },
  { name: 'another type asked for', status: 406, build: (app) => app.stream('/x', { topics: topic(app) }), headers: { accept: 'application/json' } },
  { name: 'authorize that refuses', status: 403, build: (app) => app.stream('/x', { topics: topic(app, { authorize: () => false }) }) },
  { name: 'authorize that throws', status: 402, build: (app) => app.stream('/x', { topics: topic(app, { authorize: refusing(402) }) }) },
  { name: 'topics that throw', status: 409, build: (app) => app.stream('/x', { topics: refusing(409) }) },
  { name: 'a topic that nobody declared', status: 404, build: (app) => app.stream('/x', { topics: () => 'unknown' }) },
  { name: 'identify that throws', status: 423, options: { identify: refusing(423) }, build: (app) => app.stream('/x', { topics: topic(app) }) },
  { name: 'a host of another', status: 403, options: { hosts: ['app.example'] }, build: (app) => app.stream('/x', { topics: topic(app) }) },
  { name: 'a resumable source without a key, asked for by nobody', status: 500, build: (app) => app.stream('/x', { resumable: true, source: () => [] }) },
  { name: 'a resumable source whose key refuses', status: 422, build: (app) => app.stream('/x', { resumable: { key: refusing(422) }, source: () => [] }) },
  {
    name: 'a resumable source of somebody\'s own',
    status: 200,
    options: { identify: () => ({ id: 'ada' }) },
    build: (app) => app.stream('/x', { resumable: true, source: () => [] })
  }
]

for (const { name, status, options = {}, server = {}, build, headers = SSE } of cases) {
  t.test(`${name}: ${status}`, async (t) => {
    const app = await live(t, options, server)
    await build(app)
    const head = await app.inject({ method: 'HEAD', url: '/x', headers })
    t.equal(head.body, '')
    const get = await app.inject({ url: '/x', headers, payloadAsStream: true })
    get.stream().destroy()
    t.equal(head.statusCode, status)
    t.equal(get.statusCode, status)
    if (status === 200) t.equal(head.headers['content-type'], 'text/event-stream')
  })
}

t.test('a run that has ended is 204 to who has had all of it, and 200 to all others; HEAD starts none', async (t) => {
  const app = await live(t, { identify: (request: FastifyRequest) => ({ id: String(request.headers.who ?? 'ada') }) })
  let runs = 0
  app.stream('/answers/:id', {
    resumable: true,
    async * source () {
      runs++
      yield { event: 'word', data: 'one' }
    }
  })
  const ask = async (method: 'GET' | 'HEAD', url: string, id?: string, who = 'ada'): Promise<number> => {
    const response = await app.inject({ method, url, headers: { ...SSE, who, ...(id !== undefined && { 'last-event-id': id }) }, payloadAsStream: true })
    response.stream().destroy()
    return response.statusCode
  }
  t.equal(await ask('HEAD', '/answers/1'), 200)
  t.equal(runs, 0)
  const client = await connectStream(app, '/answers/1', { t, headers: { who: 'ada' } })
  const [first, end] = [await client.next('word'), await client.next('realtime:end')]
  await client.ended
  for (const method of ['HEAD', 'GET'] as const) {
    t.equal(await ask(method, '/answers/1', end.id), 204)
    t.equal(await ask(method, `/answers/1?lastEventId=${encodeURIComponent(String(end.id))}`), 204)
    t.equal(await ask(method, '/answers/1', first.id), 200)
    t.equal(await ask(method, '/answers/1'), 200)
    t.equal(await ask(method, '/answers/1', 'nonsense'), 200)
  }
  t.equal(await ask('HEAD', '/answers/1', end.id, 'ben'), 200, 'it says nothing of another\'s')
  t.equal(runs, 1)
})

t.test('HEAD takes no place for longer than it takes, and is refused for now where a stream would be', async (t) => {
  const app = await live(t, { maxConnections: 1 })
  app.stream('/x', { topics: topic(app) })
  for (let n = 0; n < 3; n++) t.equal((await app.inject({ method: 'HEAD', url: '/x', headers: SSE })).statusCode, 200)
  await connectStream(app, '/x', { t })
  t.equal((await app.inject({ method: 'HEAD', url: '/x', headers: { accept: '*/*' } })).statusCode, 503)
  t.equal((await app.inject({ method: 'HEAD', url: '/x', headers: SSE })).statusCode, 200, 'a browser is to come back')
})
