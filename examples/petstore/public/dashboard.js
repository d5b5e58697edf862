/** Who looks at the dashboard, where everyone's pointer is, and the shop's figures. */
import { avatar, byId, el, money, toast } from './dom.js'
import { openClient, wireOf } from './live.js'
import { me } from './person.js'
import { showPeople } from './roster.js'

/** Between two of this window's own, ms. */
const often = 50

export function startDashboard () {
  const panel = byId('dashboard')
  const pointers = pointersOn(panel)
  const board = openClient('/presence-dashboard', wireOf('dashboard')).topic('presence-dashboard')
  board.on('update', ({ data: { worth, ...counts } }) => {
    for (const [name, value] of Object.entries({ ...counts, worth: money(worth) })) {
      panel.querySelector(`[data-figure="${name}"]`).textContent = value
    }
  })
  board.on('cursor', ({ data }) => pointers.move(data))
  board.on('error', ({ data }) => toast(data.message))
  board.members.subscribe(() => {
    const people = board.members.get().map(({ id }) => id).sort()
    showPeople(byId('dashboard-people'), people)
    pointers.keep(people)
  })

  let place
  panel.addEventListener('pointermove', ({ clientX, clientY }) => {
    const { left, top, width, height } = panel.getBoundingClientRect()
    if (place === undefined) setTimeout(tell, often)
    place = { x: within((clientX - left) / width), y: within((clientY - top) / height) }
  })

  function tell () {
    board.relay('cursor', place)
    place = undefined
  }
}

const within = part => Math.min(1, Math.max(0, part))

function pointersOn (panel) {
  const pointers = new Map()
  const layer = panel.appendChild(el('div', { className: 'pointers', 'aria-hidden': 'true' }))

  return {
    move ({ userId, x, y }) {
      // One's own other windows see nothing of it.
      if (userId === me) return
      const pointer = pointers.get(userId) ?? layer.appendChild(el('div', { dataset: { pointer: userId } }, avatar(userId), el('span', {}, userId)))
      pointers.set(userId, pointer)
      pointer.style.left = `${x * 100}%`
      pointer.style.top = `${y * 100}%`
    },
    /** Whoever has left takes the pointer along. */
    keep (people) {
      for (const [userId, pointer] of pointers) {
        if (people.includes(userId)) continue
        pointer.remove()
        pointers.delete(userId)
      }
    }
  }
}
