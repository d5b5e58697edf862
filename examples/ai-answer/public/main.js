import { api, byId, el, toast } from './dom.js'
import { cut, follow, stop } from './follow.js'
import { startProof } from './proof.js'
import { tally } from './tally.js'

const names = {
  idle: 'nothing asked yet',
  opening: 'opening',
  thinking: 'thinking',
  answering: 'answering',
  reconnecting: 'reconnecting',
  done: 'done',
  stopped: 'stopped',
  aborted: 'aborted',
  gone: 'gone'
}
const endings = {
  stopped: 'Stopped here.',
  aborted: 'The answer was cut off.',
  gone: 'This answer is not kept any more.'
}
const aborts = {
  failed: 'The answer was cut off: its source failed.',
  closing: 'The answer was cut off: the server was shut down.'
}
const running = ['opening', 'thinking', 'answering', 'reconnecting']

const panel = byId('answer')
const text = byId('text')
const input = byId('ask-form').elements.question
let current

/** Shows the answer that the URL's hash names. */
function open () {
  current?.close()
  const answerId = location.hash.slice(1)
  byId('controls').hidden = answerId === ''
  current = answerId === '' ? undefined : openAnswer(answerId)
  if (current === undefined) {
    clear('')
    show('idle')
  }
}

function openAnswer (answerId) {
  let said = ''
  byId('second').href = `/#${answerId}`
  clear('')
  show('opening')
  const proof = startProof(answerId, () => said)

  const stream = follow(answerId, {
    question (question) {
      byId('question').textContent = question
      document.title = question
    },
    token (token) {
      said += token
      write(token)
      byId('words').textContent = `${tally(said).words.toLocaleString('en')} words`
      proof.heard()
    },
    begin () {
      said = ''
      clear(byId('question').textContent)
    },
    open: () => proof.opened().catch(failed),
    state (state, reason) {
      show(state, reason)
      if (state === 'reconnecting') proof.lost()
      else if (state === 'gone') proof.gone()
      // Whoever is being shut down answers no more.
      else if (!running.includes(state) && reason !== 'closing') proof.ended().catch(failed)
    }
  })

  return {
    answerId,
    close () {
      stream.close()
      proof.close()
    }
  }
}

function clear (question) {
  byId('question').textContent = question
  byId('words').textContent = ''
  text.replaceChildren()
  following = true
}

/** Adds a token. An empty line begins a paragraph. */
function write (token) {
  for (const [index, part] of token.split('\n\n').entries()) {
    if (index > 0 || text.lastChild === null) text.append(el('p', '', ''))
    const paragraph = text.lastChild
    if (paragraph.firstChild === null) paragraph.append('')
    paragraph.firstChild.appendData(part)
  }
  scroll()
}

function show (state, reason) {
  panel.dataset.state = state
  byId('state').dataset.state = state
  byId('state').textContent = names[state]
  text.setAttribute('aria-busy', String(running.includes(state)))
  byId('stop').disabled = !running.includes(state)
  byId('cut').disabled = !running.includes(state) || state === 'reconnecting'
  byId('ending').hidden = !(state in endings)
  byId('ending-text').textContent = aborts[reason] ?? endings[state] ?? ''
  byId('again').hidden = byId('question').textContent === ''
}

// Who reads at the answer's lower end is kept there; who has scrolled up is left alone.
let following = true
let scrolling = false
const overhang = () => panel.getBoundingClientRect().bottom - innerHeight
addEventListener('scroll', () => { following = overhang() < 120 }, { passive: true })

function scroll () {
  if (!following || scrolling) return
  scrolling = true
  requestAnimationFrame(() => {
    scrolling = false
    if (overhang() > 0) scrollBy(0, overhang() + 16)
  })
}

async function ask (question) {
  byId('ask-form').querySelector('button').disabled = true
  try {
    const { answerId } = await api('POST', '/v1/answers', { question })
    location.hash = answerId
  } catch (error) {
    failed(error)
  } finally {
    byId('ask-form').querySelector('button').disabled = false
  }
}

function failed (error) {
  toast(error.message)
}

byId('ask-form').addEventListener('submit', event => {
  event.preventDefault()
  ask(input.value)
})
byId('ideas').addEventListener('click', ({ target }) => {
  if (target.tagName !== 'BUTTON') return
  input.value = target.textContent
  ask(input.value)
})
byId('again').addEventListener('click', () => ask(byId('question').textContent))
byId('stop').addEventListener('click', () => { stop(current.answerId).catch(failed) })
byId('cut').addEventListener('click', () => { cut(current.answerId).catch(failed) })
addEventListener('hashchange', open)
open()
