import { avatar, byId, clock, el, toast } from './dom.js'
import { openChannel, wireOf } from './live.js'
import { me } from './person.js'
import { rosterOf, showPeople } from './roster.js'

const largest = 60_000
const sentAsTheyAre = ['image/png', 'image/jpeg', 'image/gif', 'image/webp']

export function startSupport () {
  const chat = byId('chat')
  const form = byId('chat-form')
  /** Pictures whose bytes came; the next `picture` of that size says whose they are. */
  let unclaimed = []

  const roster = rosterOf(people => showPeople(byId('chat-people'), people))

  const channel = openChannel('/support/front-desk', {
    state: wireOf('support'),
    onBytes: bytes => { unclaimed = [...unclaimed.slice(-4), bytes] },
    on: {
      history ({ messages }) {
        chat.replaceChildren(...messages.map(message => bubble(message, message.picture)))
        toEnd()
      },
      message (message) {
        add(bubble(message), message.userId)
      },
      picture (message) {
        const bytes = unclaimed.find(({ byteLength }) => byteLength === message.size)
        unclaimed = unclaimed.filter(other => other !== bytes)
        add(bubble(message, bytes === undefined ? message.picture : URL.createObjectURL(new Blob([bytes]))), message.userId)
      },
      'realtime:presence': ({ data }) => roster(data),
      typing: ({ userId }) => typing.by(userId),
      error: ({ message }) => toast(message)
    }
  })

  form.addEventListener('submit', event => {
    event.preventDefault()
    const { text } = form.elements
    if (text.value.trim() === '') return
    channel.send('message', { text: text.value.trim() })
    text.value = ''
    said = 0
  })

  let said = 0
  form.elements.text.addEventListener('input', () => {
    if (Date.now() - said < 1500) return
    said = Date.now()
    channel.send('typing', { userId: me })
  })

  byId('chat-picture').addEventListener('change', async ({ target }) => {
    const [file] = target.files
    target.value = ''
    try {
      if (file !== undefined) channel.sendBytes(await fitting(file))
    } catch {
      toast('That picture cannot be read.')
    }
  })

  const typing = typingLine(byId('chat-typing'))

  function add (node, userId) {
    typing.stopped(userId)
    chat.append(node)
    toEnd()
  }

  function toEnd () {
    chat.scrollTop = chat.scrollHeight
  }

  function shown ({ target }) {
    if (target.src.startsWith('blob:')) URL.revokeObjectURL(target.src)
    toEnd()
  }

  function bubble ({ userId, text, at }, picture) {
    const mine = userId === me
    return el('li', { className: mine ? 'mine' : '' },
      mine ? undefined : avatar(userId),
      el('div', { className: 'bubble' },
        mine ? undefined : el('b', {}, userId),
        picture === undefined
          ? el('p', {}, text)
          : el('img', { src: picture, alt: `Picture from ${userId}`, onload: shown }),
        el('time', {}, clock(at))))
  }
}

/** Who is typing now; each fades by itself, since nobody says that they stopped. */
function typingLine (node) {
  const people = new Map()
  const render = () => {
    const names = [...people.keys()]
    node.textContent = names.length === 0 ? '' : names.length > 2 ? 'Several people are typing…' : `${names.join(' and ')} ${names.length > 1 ? 'are' : 'is'} typing…`
  }
  function stopped (userId) {
    clearTimeout(people.get(userId))
    people.delete(userId)
    render()
  }
  return {
    stopped,
    by (userId) {
      clearTimeout(people.get(userId))
      people.set(userId, setTimeout(stopped, 3000, userId))
      render()
    }
  }
}

/** The file as it is, or made small enough for one message. */
async function fitting (file) {
  if (file.size <= largest && sentAsTheyAre.includes(file.type)) return file
  const bitmap = await createImageBitmap(file)
  const canvas = document.createElement('canvas')
  for (let side = 960; ; side = side * 0.75) {
    const scale = Math.min(1, side / Math.max(bitmap.width, bitmap.height))
    canvas.width = Math.max(1, Math.round(bitmap.width * scale))
    canvas.height = Math.max(1, Math.round(bitmap.height * scale))
    canvas.getContext('2d').drawImage(bitmap, 0, 0, canvas.width, canvas.height)
    const blob = await new Promise(resolve => canvas.toBlob(resolve, 'image/jpeg', 0.8))
    if (blob.size <= largest) return blob
  }
}
