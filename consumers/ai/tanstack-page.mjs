// A chat of TanStack AI, in a browser. It tells the test of each change, and does what the test asks.
import { createElement, useEffect } from 'react'
import { createRoot } from 'react-dom/client'
import { fetchServerSentEvents, useChat } from '@tanstack/ai-react'

const threadId = globalThis.location.hash.slice(1)
const connection = fetchServerSentEvents('/api/chat', { reconnect: { delayMs: 20 } })

function Page () {
  const chat = useChat({ threadId, connection, persistence: true })
  globalThis.chat = chat
  globalThis.ask = (text) => chat.sendMessage(text)
  useEffect(() => {
    const last = chat.messages.at(-1)
    const text = last?.role === 'assistant' ? last.parts.map(({ content }) => content).join('') : ''
    globalThis.tell({ status: chat.status, text, error: chat.error?.message, messages: chat.messages.length })
  })
  return createElement('pre', null, chat.status)
}

createRoot(document.body).render(createElement(Page))
