/** Every way in which a stream can end. */
import { once } from 'node:events'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import type { CloseReason, Connection } from '../../lib/index.ts'
import { calls, dial, gate, listen, live, type RawClient } from '../helpers/app.ts'
import { SSE } from '../helpers/streams.ts'

// --- ends -----------------------------------------------------------------------------

interface End { name: string, reason: string, onResponse: number, act: (end: { client: RawClient, connection: Connection, app: FastifyInstance, held: { open: (value: void) => void } }) => unknown, url?: string }

const ends: End[] = [
  { name: 'the client closes its side', reason: 'connection-lost', onResponse: 0, act: ({ client }) => client.socket.end() },
  { name: 'the client resets', reason: 'connection-lost', onResponse: 0, act: ({ client }) => client.socket.resetAndDestroy() },
  { name: 'the client destroys', reason: 'connection-lost', onResponse: 0, act: ({ client }) => client.socket.destroy() },
  { name: 'the server\'s socket breaks', reason: 'connection-lost', onResponse: 0, act: ({ client }) => client.peer.destroy() },
  { name: 'the app closes', reason: 'shutting-down', onResponse: 1, act: ({ app }) => app.close() },
  { name: 'connection.close()', reason: 'closed-by-app', onResponse: 1, act: ({ connection }) => connection.close() },
  {
    name: 'connection.close() twice, and the client too',
    reason: 'closed-by-app',
    onResponse: 1,
    act: ({ connection, client }) => {
      connection.close()
      connection.close({ text: 'again' })
      client.socket.end()
    }
  },
  { name: 'the source ends', reason: 'source-ended', onResponse: 1, url: '/source', act: ({ held }) => held.open() },
  { name: 'the source fails', reason: 'internal-error', onResponse: 0, url: '/source?fail=1', act: ({ held }) => held.open() },
  { name: 'the client leaves a source', reason: 'connection-lost', onResponse: 0, url: '/source', act: ({ client }) => client.socket.destroy() },
  {
    name: 'the client does not read',
    reason: 'slow-client',
    onResponse: 0,
    act: async ({ app, client }) => {
      client.socket.pause()
      while (app.realtime.connections().length > 0) await app.realtime.publish('news', 'flood', 'x'.repeat(60_000))
    }
  }
]

for (const { name, reason, onResponse, url = '/news', act } of ends) {
  t.test(`onDisconnect runs exactly once, and onResponse no more than that, when ${name}`, async (t) => {
    const app = await live(t, { maxBuffered: 100_000 })
    app.topic('news')
    const held = gate()
    const [came, gone, responded, returned] = [calls<Connection>(), calls<CloseReason>(), calls(), calls()]
    app.addHook('onResponse', async () => responded.note(1))
    const options = { onConnect: came.note, onDisconnect: (_connection: Connection, why: CloseReason) => gone.note(why) }
    app.stream('/news', { ...options, topics: 'news' })
    app.stream('/source', {
      ...options,
      source: async function * (request, { signal }) {
        try {
          yield { data: 'first' }
          await Promise.race([held.passed, once(signal, 'abort')])
          if ((request.query as { fail?: string }).fail) throw new Error('out of ideas')
        } finally {
          returned.note(1)
        }
      }
    })
    await listen(app)
    const client = await dial(t, app)
    client.ask(`GET ${url}`, SSE)
    await client.until('realtime:open')
    const [connection] = await came.reach(1) as [Connection]
    t.notOk(connection.closed)
    await act({ client, connection, app, held })
    const [why] = await gone.reach(1) as [CloseReason]
    t.equal(why.name, reason)
    t.ok(connection.closed)
    t.ok(connection.signal.aborted)
    t.same(app.realtime.connections(), [])
    client.socket.destroy()
    await app.close()
    t.equal(gone.all.length, 1, 'onDisconnect ran once')
    t.equal(responded.all.length, onResponse, 'onResponse ran for what was ended by the server')
    t.equal(returned.all.length, url === '/news' ? 0 : 1, 'a source\'s finally ran once')
  })
}
