// A chat as an app would have it, in a browser. It tells the test of each change, and does what the test asks.
import { createElement, useEffect, useState } from 'react'
import { createRoot } from 'react-dom/client'
import { Chat, useChat } from '@ai-sdk/react'
import { DefaultChatTransport } from 'ai'

const id = globalThis.location.hash.slice(1)

/** The questions are the app's to keep: useChat is only given answers. */
const asked = () => JSON.parse(localStorage.getItem(id) ?? '[]')

function ask (chat, text) {
  const message = { id: `question-${asked().length + 1}`, role: 'user', parts: [{ type: 'text', text }] }
  localStorage.setItem(id, JSON.stringify([...asked(), message]))
  return chat.sendMessage(message)
}

// Whether this is the whole answer, only onFinish says: a status of "ready" may be behind an error, too.
let finished = false
/** The last error, until an answer is whole. */
let broken
const onFinish = ({ isAbort, isDisconnect, isError }) => {
  finished = !isAbort && !isDisconnect && !isError
  if (finished) broken = undefined
}
const onError = ({ message }) => { broken = message }

/** `?own`: useChat is given a Chat, else it makes one. `?again`: the app asks again at errors, unless it was broken off for good. */
const search = new URLSearchParams(globalThis.location.search)
const transport = new DefaultChatTransport({ api: '/api/chat' })

function Page () {
  const [options] = useState(() => {
    const options = { id, messages: asked(), transport, onFinish, onError }
    return search.has('own') ? { chat: new Chat(options) } : options
  })
  const chat = useChat({ ...options, resume: true })
  globalThis.chat = chat
  globalThis.ask = (text) => ask(chat, text)
  useEffect(() => {
    const last = chat.messages.at(-1)
    const text = last?.role === 'assistant' ? last.parts.map(({ text }) => text).join('') : ''
    globalThis.tell({ status: chat.status, text, finished, broken, error: chat.error?.message, messages: chat.messages.length })
  })
  useEffect(() => {
    if (chat.status === 'error' && search.has('again') && chat.error.message !== 'The answer was broken off.') chat.resumeStream()
  }, [chat.status, chat.error])
  return createElement('pre', null, chat.status)
}

createRoot(document.body).render(createElement(Page))
