/** A chat as the AI SDK has it. chat-script.ts makes one file of this and what it imports. */
import { createElement as h, useEffect, useState } from 'react'
import { createRoot } from 'react-dom/client'
import { Chat, useChat } from '@ai-sdk/react'
import { config } from 'zod'
import { api, byId, toast } from '../public/dom.js'
import { tally } from '../public/tally.js'

// zod would make functions of strings, which this page's policy forbids.
config({ jitless: true })

const states = { ready: 'done', submitted: 'thinking', streaming: 'answering', error: 'aborted' }
const ideas = ['Why does bread rise?', 'How do the tides work?', 'What keeps a bicycle upright?']
const rows = { words: 'Words', characters: 'Characters', checksum: 'Checksum' }
/** What the format says of an answer that was broken off: asked again, it would say the same. */
const brokenOff = 'The answer was broken off.'

const random = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), byte => byte.toString(16).padStart(2, '0')).join('')
const id = location.hash.slice(1) || random()
history.replaceState(null, '', `#${id}`)
addEventListener('hashchange', () => location.reload())
const path = `/api/chat/${id}`

const failed = error => toast(error.message)
const load = () => api('GET', path)
const textOf = ({ parts }) => parts.map(({ text = '' }) => text).join('')

// Made here and not by useChat, which would add what is repeated after a cut to what it has (AI SDK 6).
const chat = new Chat({ id, messages: (await load()).messages })

/** Joins the answer where the connection was lost. useChat alone would wait until its window becomes visible again. */
async function comeBack () {
  await chat.resumeStream()
  // It takes "nothing runs" for the end, whatever it has: the answer may have ended meanwhile.
  if (chat.status === 'ready') chat.messages = (await load()).messages
}

function Page () {
  const { messages, status, error, sendMessage } = useChat({ chat, resume: true })
  const lost = status === 'error' && error.message !== brokenOff
  useEffect(() => {
    if (!lost) return
    const timer = setTimeout(() => comeBack().catch(failed), 500)
    return () => clearTimeout(timer)
  }, [lost, error])
  const last = messages.at(-1)
  const text = last?.role === 'assistant' ? textOf(last) : ''
  const silent = status === 'streaming' && text === ''
  const state = messages.length === 0 ? 'idle' : lost ? 'reconnecting' : silent ? 'thinking' : states[status]
  const ask = text => sendMessage({ text }).catch(failed)
  return h('main', null,
    h(Ask, { ask }),
    h(Answers, { messages, state }),
    h(Proof, { state, text }))
}

function Ask ({ ask }) {
  const [text, setText] = useState('')
  const submit = event => {
    event.preventDefault()
    ask(text)
    setText('')
  }
  return h('section', { className: 'panel', id: 'ask', 'aria-label': 'Ask' },
    h('form', { className: 'line', id: 'ask-form', onSubmit: submit },
      h('input', { value: text, onChange: ({ target }) => setText(target.value), placeholder: 'Ask a question', 'aria-label': 'Your question', minLength: 2, maxLength: 300, required: true }),
      h('button', { className: 'primary' }, 'Ask')),
    h('div', { className: 'chips', role: 'group', 'aria-label': 'For example' },
      ideas.map(idea => h('button', { key: idea, type: 'button', onClick: () => ask(idea) }, idea))))
}

const names = { idle: 'nothing asked yet', thinking: 'thinking', answering: 'answering', reconnecting: 'reconnecting', done: 'done', aborted: 'broken off' }

function Answers ({ messages, state }) {
  const running = state === 'thinking' || state === 'answering'
  return h('section', { className: 'panel', id: 'answer', 'aria-label': 'Chat', 'data-state': state },
    h('div', { className: 'bar' },
      h('span', { className: 'wire', id: 'state', role: 'status', 'data-state': state }, names[state]),
      h('span', { className: 'line' },
        h('a', { className: 'button', target: '_blank', rel: 'noopener', href: `/chat.html#${id}` }, 'Open in a second window'),
        h('button', { type: 'button', id: 'stop', disabled: !running, onClick: () => api('POST', `${path}/stop`).catch(failed) }, 'Stop'))),
    state === 'idle' && h('p', { className: 'hint' }, 'The answer appears here as it is told.'),
    messages.map(message => h('article', { key: message.id, className: message.role },
      textOf(message).split('\n\n').map((paragraph, n) => h('p', { key: n }, paragraph)))),
    state === 'aborted' && h('p', { className: 'ending' }, brokenOff),
    h('footer', null, h('code', null, 'POST /api/chat'), h('span', null, 'useChat, resume: true')))
}

function Proof ({ state, text }) {
  const [there, setThere] = useState()
  const running = state === 'answering' || state === 'thinking'
  useEffect(() => {
    if (state === 'done') load().then(({ said }) => setThere(said), failed)
    else setThere(undefined)
  }, [state, text])
  const here = tally(text)
  const equal = there && Object.keys(rows).every(row => here[row] === there[row])
  return h('section', { className: 'panel', id: 'proof', 'aria-label': 'Not a word lost' },
    h('header', null, h('h2', null, 'Not a word lost')),
    h('p', { className: 'note' }, 'The server closes every connection of this chat and goes on talking. The page asks for the answer again, and gets all of it.'),
    h('button', { type: 'button', id: 'cut', disabled: !running, onClick: () => api('POST', `${path}/drop`).catch(failed) }, 'Cut the connection'),
    h('table', null,
      h('thead', null, h('tr', null, h('td'), h('th', { scope: 'col' }, 'This window'), h('th', { scope: 'col' }, 'The server'))),
      h('tbody', null, Object.entries(rows).map(([row, name]) => h('tr', { key: row }, h('th', { scope: 'row' }, name), h('td', null, here[row]), h('td', null, there?.[row] ?? '–'))))),
    h('p', { className: 'verdict', id: 'verdict', role: 'status', 'data-kind': there ? equal ? 'whole' : 'different' : 'waiting' },
      there ? equal ? 'Equal, to the last word.' : 'Not equal: something was lost.' : 'Compared at the end.'),
    h('footer', null, h('code', null, 'POST /api/chat/:chatId/drop'), h('span', null, 'a real cut')))
}

createRoot(byId('page')).render(h(Page))
