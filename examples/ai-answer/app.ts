/** Builds the app without listening, so that tests can have their own. */
import { fileURLToPath } from 'node:url'
import Fastify, { type FastifyInstance, type FastifyServerOptions } from 'fastify'
import fastifyStatic from '@fastify/static'
import realtime, { type RealtimeOptions } from 'fastify-realtime'
import { answers } from './answers.ts'
import { chatScript } from './chat-script.ts'
import { chats } from './chats.ts'
import { talking, type Tempo } from './tempo.ts'

export interface AiAnswerOptions {
  logger?: FastifyServerOptions['logger']
  realtime?: RealtimeOptions
  /** How fast it speaks. */
  tempo?: Tempo
}

const pagePolicy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self'",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'self'",
  "frame-ancestors 'none'"
].join('; ')

export default async function buildApp (options: AiAnswerOptions = {}): Promise<FastifyInstance> {
  const app = Fastify({ logger: options.logger ?? false })

  // A browser that was cut off comes back after this time: short, since somebody is reading.
  await app.register(realtime, { retry: 1000, ...options.realtime })
  const tempo = options.tempo ?? talking
  await app.register(answers, { tempo })
  await app.register(chats, { tempo })

  const script = await chatScript()
  app.get('/chat.js', async (_request, reply) => await reply.type('text/javascript; charset=utf-8').send(script))

  await app.register(fastifyStatic, {
    root: fileURLToPath(new URL('./public/', import.meta.url)),
    setHeaders: reply => reply.header('content-security-policy', pagePolicy)
  })
  // The client, as it is built: the page's policy lets no import map in, so it is imported by its path.
  await app.register(fastifyStatic, {
    root: fileURLToPath(new URL('.', import.meta.resolve('fastify-realtime/client'))),
    prefix: '/fastify-realtime-client/',
    decorateReply: false
  })
  return app
}
