import { byId, clock, el, money, prepend, toast } from './dom.js'
import { wireOf } from './live.js'
import { api, me } from './person.js'
import { petName } from './pets.js'
import { count } from './proof.js'
import { hear } from './stream.js'

export function startNotifications ({ onPetChange, onLoad }) {
  const show = wireOf('notifications')
  const cut = cutDemo()
  const mine = `users/${encodeURIComponent(me)}/notifications`
  let heard = false

  hear({
    state (state, node) {
      show(state, node)
      cut.state(state)
      // From here on changes are heard, so what is loaded now cannot grow old unseen.
      if (state === 'live' && !heard) {
        heard = true
        load()
      }
    },
    on: {
      adoption: ({ petName, userId }) => tell('adoption', `${petName} has found a home with ${userId}`),
      'status-change' (change) {
        onPetChange(change)
        tell('status-change', `${petName(change.petId)} is ${change.status.toLowerCase()}`)
      },
      'price-change' (change) {
        onPetChange(change)
        tell('price-change', `${petName(change.petId)} costs ${money(change.price)}`)
      },
      // The event without a name.
      message ({ text }) {
        tell('message', text)
        cut.note(text)
      },
      // Away for longer than the history reaches, or the server began anew.
      'realtime:reset' ({ topic, reason }) {
        if (topic !== 'pets' && topic !== mine) return
        count('resets')
        tell('realtime:reset', `What happened meanwhile in ${topic} is gone (${reason})`)
        if (topic === 'pets') load()
      }
    }
  })

  function load () {
    onLoad().catch(error => toast(error.message))
  }

  byId('note-form').addEventListener('submit', event => {
    event.preventDefault()
    const { userId, text } = Object.fromEntries(new FormData(event.target))
    const to = userId.trim()
    api('POST', '/v1/notifications', { text, ...(to === '' ? {} : { userId: to }) })
      .then(() => { event.target.elements.text.value = '' }, error => toast(error.message))
  })
}

function tell (name, text) {
  prepend(byId('feed'), el('li', {},
    el('span', { className: 'tag', dataset: { event: name } }, name),
    el('span', { className: 'feed-text' }, text),
    el('time', {}, clock())))
}

/**
 * The server cuts this person's stream; while it is away five notes are sent; then the browser is back, says its
 * last id, and gets what it missed. What is shown is what arrived.
 */
function cutDemo () {
  const button = byId('cut-button')
  const note = byId('cut-note')
  const ticks = [...byId('cut-ticks').children]
  let round
  let rounds = 0

  button.addEventListener('click', async () => {
    round = { name: `Sent while you were away, round ${++rounds}:`, arrived: [], cutAt: undefined, backAt: undefined }
    button.disabled = true
    for (const tick of ticks) tick.dataset.state = ''
    note.textContent = 'Asking the server to cut the stream…'
    await api('POST', '/v1/connections/drop').catch(failed)
  })

  function failed (error) {
    round = undefined
    button.disabled = false
    note.textContent = error.message
  }

  async function sendNotes (current) {
    for (const [index, tick] of ticks.entries()) {
      await api('POST', '/v1/notifications', { userId: me, text: `${current.name} ${index + 1} of 5` })
      tick.dataset.state ||= 'sent'
    }
    note.textContent = 'Cut. Five notes were sent to you; the browser will be back in a moment…'
  }

  function finish () {
    const { arrived, cutAt, backAt } = round
    const inOrder = arrived.every((number, index) => number === index + 1)
    note.textContent = `Away for ${((backAt - cutAt) / 1000).toFixed(1)} s. ` +
      `${arrived.length} of 5 arrived, ${inOrder ? 'in order, none missed and none twice' : `as ${arrived.join(', ')}`}.`
    byId('cut').dataset.done = inOrder ? 'whole' : 'broken'
    button.disabled = false
    round = undefined
  }

  return {
    state (state) {
      if (round === undefined) return
      if (state === 'gone' && round.cutAt === undefined) {
        round.cutAt = Date.now()
        sendNotes(round).catch(failed)
      } else if (state === 'live' && round.cutAt !== undefined) {
        round.backAt = Date.now()
      }
    },
    note (text) {
      if (round === undefined || !text.startsWith(round.name)) return
      const number = Number(text.slice(round.name.length).trim()[0])
      if (round.arrived.includes(number)) return count('doubled')
      count('heard')
      count('missed', Math.max(0, number - round.arrived.length - 1))
      round.arrived.push(number)
      ticks[number - 1].dataset.state = 'arrived'
      if (number === ticks.length) finish()
    }
  }
}
