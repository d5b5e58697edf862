import { byId, el, icon, money, toast } from './dom.js'
import { api, me } from './person.js'

const pets = new Map()
const statuses = ['AVAILABLE', 'PENDING', 'ADOPTED']

export const petName = petId => pets.get(petId)?.petName ?? petId
export const isAdopted = petId => pets.get(petId)?.status === 'ADOPTED'

/** Called with the id of a pet that may have changed. */
export const watchPets = changed => watchers.push(changed)
const watchers = []

/** Changes heard before the first list was here. */
let early = []

export async function loadPets () {
  const { pets: all } = await api('GET', '/v1/pets')
  for (const pet of all) {
    if (!pets.has(pet.petId)) byId('pet-list').append(row(pet))
    pets.set(pet.petId, pet)
  }
  for (const change of early) Object.assign(pets.get(change.petId) ?? {}, change)
  early = []
  for (const pet of all) render(pet)
  return all
}

/** Takes some of a pet's members, as an event says them. */
export function applyPetChange (change) {
  const pet = pets.get(change.petId)
  if (pet === undefined) early.push(change)
  else render(Object.assign(pet, change))
}

function render ({ petId, status, price }) {
  const node = byId('pet-list').querySelector(`[data-pet="${CSS.escape(petId)}"]`)
  const pill = node.querySelector('select')
  pill.value = status
  pill.dataset.status = status
  node.querySelector('output').textContent = money(price)
  // Nothing of an adopted pet changes any more.
  const adopted = status === 'ADOPTED'
  for (const control of node.querySelectorAll('button, select')) control.disabled = adopted
  const button = node.querySelector('.adopt')
  button.textContent = adopted ? 'Adopted' : 'Adopt'
  button.ariaLabel = `${button.textContent} ${petName(petId)}`
  for (const changed of watchers) changed(petId)
}

function row ({ petId, petName, kind, about }) {
  const change = body => api('PATCH', `/v1/pets/${petId}`, body).catch(refused)
  const price = by => () => change({ price: Math.max(0, pets.get(petId).price + by) })
  return el('li', { className: 'pet', dataset: { pet: petId } },
    icon(`face-${kind}`, `face ${kind}`),
    el('div', { className: 'pet-name' }, el('strong', {}, petName), el('span', {}, about)),
    el('button', {
      type: 'button',
      className: 'adopt',
      onclick: () => api('POST', `/v1/pets/${petId}/adopt`, { userId: me }).catch(refused)
    }, 'Adopt'),
    el('select', {
      className: 'pill',
      ariaLabel: `Status of ${petName}`,
      onchange: ({ target }) => change({ status: target.value })
    }, ...statuses.map(status => el('option', { value: status }, status.toLowerCase()))),
    el('div', { className: 'stepper', role: 'group', ariaLabel: `Price of ${petName}` },
      el('button', { type: 'button', ariaLabel: 'Cheaper', onclick: price(-5) }, '−'),
      el('output', {}),
      el('button', { type: 'button', ariaLabel: 'Dearer', onclick: price(5) }, '+')))
}

function refused (error) {
  toast(error.message)
  // What was chosen here did not happen: show what is.
  loadPets().catch(() => {})
}
