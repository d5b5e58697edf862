// A chat of assistant-ui, in a browser. It tells the test of each change, and does what the test asks.
import { createElement, useEffect } from 'react'
import { createRoot } from 'react-dom/client'
import { AssistantRuntimeProvider, MessagePrimitive, ThreadPrimitive } from '@assistant-ui/react'
import { AssistantChatTransport, createResumableSessionStorage, useChatRuntime } from '@assistant-ui/react-ai-sdk'

const transport = new AssistantChatTransport({
  api: '/api/chat',
  resumable: { storage: createResumableSessionStorage(), resumeApi: (id) => `/api/chat/${encodeURIComponent(id)}/stream` }
})

const Message = () => createElement(MessagePrimitive.Root, null, createElement(MessagePrimitive.Parts))
const components = { UserMessage: Message, AssistantMessage: Message }

function tell (thread) {
  const { messages, isRunning } = thread.getState()
  const last = messages.at(-1)
  const text = last?.role === 'assistant' ? last.content.map(({ text }) => text).join('') : ''
  globalThis.tell({ status: isRunning ? 'running' : last?.status?.type ?? 'ready', reason: last?.status?.reason, error: last?.status?.error, text, messages: messages.length })
}

function Page () {
  const runtime = useChatRuntime({ transport })
  globalThis.ask = (text) => runtime.thread.append(text)
  useEffect(() => {
    tell(runtime.thread)
    return runtime.thread.subscribe(() => tell(runtime.thread))
  }, [runtime])
  return createElement(AssistantRuntimeProvider, { runtime }, createElement(ThreadPrimitive.Root, null, createElement(ThreadPrimitive.Messages, { components })))
}

createRoot(document.body).render(createElement(Page))
