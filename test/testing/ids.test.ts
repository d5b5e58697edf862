/** Ids of other servers, which may be any text. */
import t from 'tap'
import Fastify from 'fastify'
import { connectStream } from '../../lib/testing/index.ts'

t.test('an id that is not latin-1 is sent as browsers send it', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  const came: unknown[] = []
  app.get('/odd', async (request, reply) => {
    came.push(request.headers['last-event-id'])
    return await reply.type('text/event-stream').send('id: €uro\ndata: 1\n\n')
  })
  const client = await connectStream(app, '/odd', { t, lastEventId: 'é' })
  await client.next('message')
  await client.resume()
  t.equal(client.lastEventId, '€uro')
  t.same(came.map((id) => Buffer.from(String(id), 'latin1').toString()), ['é', '€uro'])
})
