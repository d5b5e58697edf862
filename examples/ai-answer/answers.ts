/** Questions, and their answers as resumable streams. */
import { randomUUID } from 'node:crypto'
import createError from '@fastify/error'
import { Type } from 'typebox'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { Connection, SourceEvent } from 'fastify-realtime'
import { compose, tokensOf } from './explainer.ts'
import { tally } from './tally.ts'
import type { Tempo } from './tempo.ts'

interface Answer {
  answerId: string
  question: string
  /** What was said so far: kept only to be compared with what arrived. */
  said: string
  readers: Set<Connection>
}

const AnswerNotFound = createError('ANSWER_NOT_FOUND', 'There is no answer %s (any more)', 404)
const NothingAsked = createError('NOTHING_ASKED', 'A question has at least two characters', 400)

const AnswerId = Type.String({ maxLength: 64 })
const AnswerParams = Type.Object({ answerId: AnswerId })
const answersKept = 500

export const answers: FastifyPluginAsyncTypebox<{ tempo: Tempo }> = async (app, { tempo }) => {
  const library = new Map<string, Answer>()

  app.post('/v1/answers', {
    schema: { body: Type.Object({ question: Type.String({ minLength: 2, maxLength: 300 }) }) }
  }, async (request, reply) => {
    const question = oneLine(request.body.question)
    if (question.length < 2) throw new NothingAsked()
    const answer: Answer = { answerId: randomUUID(), question, said: '', readers: new Set() }
    library.set(answer.answerId, answer)
    for (const oldest of library.keys()) {
      if (library.size <= answersKept) break
      library.delete(oldest)
    }
    return reply.code(201).header('location', pathOf(answer)).send({ answerId: answer.answerId, question })
  })

  // The first to ask starts the source. Whoever asks later, or again, gets what was said and then the rest.
  app.stream('/v1/answers/:answerId', {
    schema: { params: AnswerParams },
    // An ordinary hook, so an ordinary 404, before any stream has started.
    preHandler: async ({ params }) => { find(params.answerId) },
    source: ({ params }, { signal }) => tell(find(params.answerId), signal),
    // Whoever has the answer's id may read it; who may not would have the user in its key.
    resumable: { key: ({ params }) => params.answerId, space: 'answers', maxAge: 60 * 60_000 },
    onConnect (connection, { params }) {
      const { readers } = find(params.answerId)
      readers.add(connection)
      connection.signal.addEventListener('abort', () => readers.delete(connection), { once: true })
    },
    // For who asks for JSON instead: how far it has got.
    handler: ({ params }) => {
      const { answerId, question, said } = find(params.answerId)
      return { answerId, question, ...tally(said) }
    }
  })

  app.post('/v1/answers/:answerId/stop', { schema: { params: AnswerParams } }, async ({ params }) => ({
    stopped: await app.realtime.stop(find(params.answerId).answerId, { space: 'answers' })
  }))

  // For the page's "Cut the connection": the cut is real, and the browser's EventSource comes back by itself.
  app.post('/v1/connections/drop', {
    schema: { body: Type.Object({ answerId: AnswerId }) }
  }, async ({ body }) => {
    const readers = [...find(body.answerId).readers]
    for (const connection of readers) connection.close()
    return { dropped: readers.length }
  })

  async function * tell (answer: Answer, signal: AbortSignal): AsyncGenerator<SourceEvent> {
    answer.said = ''
    yield { event: 'question', data: answer.question }
    await tempo.think(signal)
    for (const token of tokensOf(compose(answer.question))) {
      await tempo.speak(token, signal)
      yield { event: 'token', data: token }
      // Asked for the next one: this one is kept, and reaches everybody.
      answer.said += token
    }
  }

  function find (answerId: string): Answer {
    const answer = library.get(answerId)
    if (answer === undefined) throw new AnswerNotFound(answerId)
    return answer
  }
}

const pathOf = ({ answerId }: Answer): string => `/v1/answers/${answerId}`

/** Without line breaks, control characters, and halves of characters. */
function oneLine (text: string): string {
  return text.toWellFormed().replace(/[\s\p{Cc}]+/gu, ' ').trim()
}
