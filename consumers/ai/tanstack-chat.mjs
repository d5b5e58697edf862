// A node of a chat with TanStack AI: one URL for its answers, for those who join them, and for what the app knows of a thread.
import { readFileSync } from 'node:fs'
import Fastify from 'fastify'
import realtime from 'fastify-realtime'
import { redis } from 'fastify-realtime/redis'

/** As the page has it: what a question is sent as has no parts. */
const shown = (message) => ({ ...message, parts: message.parts ?? [{ type: 'text', content: message.content }] })

/** `threads`: what the app knows: the messages of each thread, and the run that answers the last. Two nodes share it, as a database. */
export async function startNode ({ answer, redisSocket, script, threads }) {
  const app = Fastify({ forceCloseConnections: true })
  await app.register(realtime, { adapter: redis({ connection: { path: redisSocket } }) })
  app.stream('/api/chat', {
    method: ['GET', 'POST'],
    format: {
      error: { type: 'RUN_ERROR', message: 'The answer was broken off.' },
      accept: ({ method, query }) => method === 'POST' || query.runId !== undefined
    },
    resumable: { start: 'POST', key: ({ headers, query }) => query.runId ?? headers['x-run-id'] },
    // "From the start", also where it has ended meanwhile.
    onRequest: async ({ headers, query }) => { if (query.offset === '-1') headers['last-event-id'] ??= '-1' },
    async * source ({ body: { threadId, runId, messages: asked } }, { signal }) {
      const messages = asked.map(shown)
      threads.set(threadId, { messages, activeRun: { runId } })
      const messageId = `answer-${runId}`
      let content = ''
      yield { type: 'RUN_STARTED', threadId, runId }
      yield { type: 'TEXT_MESSAGE_START', messageId, role: 'assistant' }
      for await (const delta of answer(signal)) {
        content += delta
        yield { type: 'TEXT_MESSAGE_CONTENT', messageId, delta }
      }
      // The node closes: this is not the answer.
      if (signal.aborted) return
      threads.set(threadId, { messages: [...messages, { id: messageId, role: 'assistant', parts: [{ type: 'text', content }] }], activeRun: null })
      yield { type: 'TEXT_MESSAGE_END', messageId }
      yield { type: 'RUN_FINISHED', threadId, runId }
    },
    handler: ({ query }) => threads.get(query.threadId) ?? { messages: [], activeRun: null }
  })
  app.get('/', (_request, reply) => reply.type('text/html').send('<!doctype html><meta charset=utf-8><link rel=icon href=data:,><body><script type=module src=/page.js></script>'))
  app.get('/page.js', (_request, reply) => reply.type('text/javascript').send(readFileSync(script)))
  await app.listen({ port: 0, host: '127.0.0.1' })
  return app
}
