// A node of a chat: the server of docs/guides/ai-clients.md with a model that a test has in its hands, and a page.
import { readFileSync } from 'node:fs'
import Fastify from 'fastify'
import realtime from 'fastify-realtime'
import { redis } from 'fastify-realtime/redis'

const format = 'ui-message-stream'
const runs = { start: 'POST', space: 'chat' }

/** `redisSocket`: of the Redis that the nodes share. `script`: the page's, bundled. */
export async function startNode ({ answer, redisSocket, script, port = 0 }) {
  const app = Fastify({ forceCloseConnections: true })
  await app.register(realtime, { adapter: redis({ connection: { path: redisSocket } }) })
  app.stream('/api/chat', {
    method: 'POST',
    format,
    resumable: { ...runs, key: ({ body }) => body.id },
    async * source ({ body }, { signal, reply }) {
      // assistant-ui's: under which name a page that is loaded again joins it.
      reply.header('x-resumable-stream-id', body.id)
      yield { type: 'start', messageId: `answer-${body.messages.length}` }
      yield { type: 'text-start', id: 't1' }
      for await (const delta of answer(signal, body.id)) yield { type: 'text-delta', id: 't1', delta }
      yield { type: 'text-end', id: 't1' }
      yield { type: 'finish' }
    }
  })
  app.stream('/api/chat/:id/stream', { format, resumable: { ...runs, key: ({ params }) => params.id } })
  app.post('/api/chat/:id/stop', async ({ params }) => ({ stopped: await app.realtime.stop(params.id, { space: 'chat' }) }))
  app.get('/', (_request, reply) => reply.type('text/html').send('<!doctype html><meta charset=utf-8><link rel=icon href=data:,><body><script type=module src=/page.js></script>'))
  app.get('/page.js', (_request, reply) => reply.type('text/javascript').send(readFileSync(script)))
  await app.listen({ port, host: '127.0.0.1' })
  return app
}
