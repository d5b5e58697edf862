import { byId, clock, el, toast } from './dom.js'
import { openStream, wireOf } from './live.js'
import { api, me } from './person.js'
import { petName } from './pets.js'

const steps = ['placed', 'shipped', 'delivered']

export function startOrder (pets) {
  const form = byId('order-form')
  form.elements.petId.append(...pets.map(({ petId, petName }) => el('option', { value: petId }, petName)))

  form.addEventListener('submit', event => {
    event.preventDefault()
    api('POST', '/v1/orders', { userId: me, petId: form.elements.petId.value }).then(follow, failed)
  })
  byId('order-follow').addEventListener('submit', event => {
    event.preventDefault()
    const orderId = event.target.elements.orderId.value.trim()
    // Asked for first, because an EventSource does not say that its answer was a 404.
    api('GET', `/v1/orders/${encodeURIComponent(orderId)}`).then(follow, failed)
  })
  byId('order-ship').addEventListener('click', () => advance('shipped'))
  byId('order-deliver').addEventListener('click', () => advance('delivered'))

  // A browser has six HTTP/1.1 connections for all windows of a site. A hidden one gives its own back: the
  // stream starts with the present state, so nothing is lost by it.
  document.addEventListener('visibilitychange', () => {
    if (orderId === undefined) return
    if (document.hidden) stop('idle')
    else listen()
  })
}

const wire = wireOf('order')
let orderId
let stream

function follow (order) {
  orderId = order.orderId
  byId('order-follow').elements.orderId.value = orderId
  for (const time of document.querySelectorAll('#order-steps time')) time.textContent = ''
  listen()
}

function listen () {
  stop('connecting')
  stream = openStream(`/v1/orders/${encodeURIComponent(orderId)}/events`, {
    state: wire,
    isOver: () => api('GET', `/v1/orders/${encodeURIComponent(orderId)}`).then(() => false, ({ status }) => status === 404),
    on: Object.fromEntries(steps.map(step => [step, show]))
  })
}

function stop (state) {
  stream?.close()
  stream = undefined
  wire(state)
}

function show ({ status, userId, petId }) {
  const reached = steps.indexOf(status)
  for (const [index, node] of [...byId('order-steps').children].entries()) {
    node.dataset.state = index < reached ? 'done' : index === reached ? 'now' : ''
    if (index === reached) node.querySelector('time').textContent ||= clock()
  }
  byId('order-note').textContent = `${petName(petId)}, ordered by ${userId}.`
  byId('order-ship').disabled = reached >= 1
  byId('order-deliver').disabled = reached >= 2
  if (status === 'delivered') {
    orderId = undefined
    stop('done')
  }
}

function advance (status) {
  api('PATCH', `/v1/orders/${encodeURIComponent(orderId)}`, { status }).catch(failed)
}

function failed (error) {
  toast(error.message)
}
