/** The same answers for a client that is not ours: useChat of the AI SDK, which asks by POST and joins by GET. */
import { Type, type Static } from 'typebox'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { Connection } from 'fastify-realtime'
import { compose, tokensOf } from './explainer.ts'
import { tally } from './tally.ts'
import type { Tempo } from './tempo.ts'

const MessageSchema = Type.Object({
  id: Type.String(),
  role: Type.Union([Type.Literal('user'), Type.Literal('assistant')]),
  parts: Type.Array(Type.Object({ type: Type.String(), text: Type.Optional(Type.String()) }))
})
type Message = Static<typeof MessageSchema>

interface Chat {
  /** Questions, and the answers that were given to their ends. */
  messages: Message[]
  /** What was said of the last one. */
  said: string
  readers: Set<Connection>
}

const ChatId = Type.String({ minLength: 8, maxLength: 64 })
const ChatParams = Type.Object({ chatId: ChatId })
const chatsKept = 500

/** Whoever knows a chat's id may read it: where ids can be guessed the user belongs into the key. */
const runs = { start: 'POST', space: 'chats', maxAge: 60 * 60_000 } as const
const format = 'ui-message-stream'

export const chats: FastifyPluginAsyncTypebox<{ tempo: Tempo }> = async (app, { tempo }) => {
  const library = new Map<string, Chat>()

  // A question begins an answer, and stops the one before it.
  app.stream('/api/chat', {
    method: 'POST',
    schema: { body: Type.Object({ id: ChatId, messages: Type.Array(MessageSchema, { minItems: 1, maxItems: 100 }) }) },
    format,
    resumable: { ...runs, key: ({ body }) => body.id },
    onConnect: (connection, { body }) => note(body.id, connection),
    source: ({ body }, { signal }) => tell(chatOf(body.id), body.messages, signal)
  })

  // A page that is loaded, or comes back, joins the answer that is being given. Where none is, it is answered 204.
  app.stream('/api/chat/:chatId/stream', {
    schema: { params: ChatParams },
    format,
    resumable: { ...runs, key: ({ params }) => params.chatId },
    onConnect: (connection, { params }) => note(params.chatId, connection)
  })

  // useChat keeps nothing: the page is given what was asked and answered before, and how far the present answer is.
  app.get('/api/chat/:chatId', { schema: { params: ChatParams } }, async ({ params }) => {
    const { messages, said } = chatOf(params.chatId)
    return { messages, said: tally(said) }
  })

  // useChat's own stop() only stops listening.
  app.post('/api/chat/:chatId/stop', { schema: { params: ChatParams } }, async ({ params }) => ({
    stopped: await app.realtime.stop(params.chatId, { space: runs.space })
  }))

  app.post('/api/chat/:chatId/drop', { schema: { params: ChatParams } }, async ({ params }) => {
    const readers = [...chatOf(params.chatId).readers]
    for (const connection of readers) connection.close({ reconnect: true })
    return { dropped: readers.length }
  })

  async function * tell (chat: Chat, messages: Message[], signal: AbortSignal) {
    chat.messages = messages
    chat.said = ''
    // Which message it is, so that who is given it again does not show it twice.
    const answer: Message = { id: `answer-${messages.length}`, role: 'assistant', parts: [] }
    try {
      yield { type: 'start', messageId: answer.id }
      yield { type: 'text-start', id: 'text' }
      await tempo.think(signal)
      for (const token of tokensOf(compose(textOf(messages.at(-1))))) {
        await tempo.speak(token, signal)
        yield { type: 'text-delta', id: 'text', delta: token }
        if (chat.messages === messages) chat.said += token
      }
    } finally {
      // Stopped, it is all there is. Failed, it is not.
      if (chat.messages === messages && (signal.aborted || chat.said === compose(textOf(messages.at(-1))))) {
        chat.messages = [...messages, { ...answer, parts: [{ type: 'text', text: chat.said }] }]
      }
    }
    yield { type: 'text-end', id: 'text' }
    yield { type: 'finish' }
  }

  function note (chatId: string, connection: Connection): void {
    const { readers } = chatOf(chatId)
    readers.add(connection)
    connection.signal.addEventListener('abort', () => readers.delete(connection), { once: true })
  }

  function chatOf (chatId: string): Chat {
    const chat = library.get(chatId) ?? { messages: [], said: '', readers: new Set() }
    library.delete(chatId)
    library.set(chatId, chat)
    for (const oldest of library.keys()) {
      if (library.size <= chatsKept) break
      library.delete(oldest)
    }
    return chat
  }
}

function textOf (message: Message | undefined): string {
  const text = message?.parts.map((part) => part.text ?? '').join('') ?? ''
  return text.toWellFormed().replace(/[\s\p{Cc}]+/gu, ' ').trim().slice(0, 300)
}
