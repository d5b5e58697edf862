import { byId, clock, el, toast } from './dom.js'
import { wireOf } from './live.js'
import { api, me } from './person.js'
import { isAdopted, petName, watchPets } from './pets.js'
import { follow, hear, unfollow } from './stream.js'

const steps = ['placed', 'shipped', 'delivered']

export function startOrder (pets) {
  const form = byId('order-form')
  form.elements.petId.append(...pets.map(({ petId, petName }) => el('option', { value: petId }, petName)))
  watchPets(offer)
  pets.forEach(({ petId }) => offer(petId))

  form.addEventListener('submit', event => {
    event.preventDefault()
    api('POST', '/v1/orders', { userId: me, petId: form.elements.petId.value }).then(begin, failed)
  })
  byId('order-follow').addEventListener('submit', event => {
    event.preventDefault()
    const orderId = event.target.elements.orderId.value.trim()
    // Asked for first: the stream leaves out what there is not.
    api('GET', `/v1/orders/${encodeURIComponent(orderId)}`).then(begin, failed)
  })
  byId('order-ship').addEventListener('click', () => advance('shipped'))
  byId('order-deliver').addEventListener('click', () => advance('delivered'))
}

/** What is adopted cannot be ordered. */
function offer (petId) {
  const { elements: { petId: select } } = byId('order-form')
  const option = [...select.options].find(({ value }) => value === petId)
  option.disabled = isAdopted(petId)
  option.textContent = isAdopted(petId) ? `${petName(petId)} (adopted)` : petName(petId)
  if (select.selectedOptions[0]?.disabled) select.value = [...select.options].find(({ disabled }) => !disabled)?.value ?? ''
}

const wire = wireOf('order', false)
let orderId

/** Before anything is heard. */
export function listenToOrders () {
  hear({
    state: (state, node) => orderId !== undefined && wire(state, node),
    on: Object.fromEntries(steps.map(step => [step, show]))
  })
}

function begin (order) {
  if (orderId !== undefined) unfollow(orderId)
  orderId = order.orderId
  byId('order-follow').elements.orderId.value = orderId
  for (const time of document.querySelectorAll('#order-steps time')) time.textContent = ''
  wire('connecting')
  follow(orderId)
}

function show ({ status, userId, petId, ...order }) {
  if (order.orderId !== orderId) return
  const reached = steps.indexOf(status)
  for (const [index, node] of [...byId('order-steps').children].entries()) {
    node.dataset.state = index < reached ? 'done' : index === reached ? 'now' : ''
    if (index === reached) node.querySelector('time').textContent ||= clock()
  }
  byId('order-note').textContent = `${petName(petId)}, ordered by ${userId}.`
  byId('order-ship').disabled = reached >= 1
  byId('order-deliver').disabled = reached >= 2
  if (status === 'delivered') {
    unfollow(orderId)
    orderId = undefined
    wire('done')
  }
}

function advance (status) {
  api('PATCH', `/v1/orders/${encodeURIComponent(orderId)}`, { status }).catch(failed)
}

function failed (error) {
  toast(error.message)
}
