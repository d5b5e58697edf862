import { avatar, byId, clock, el, icon, money, prepend, toast } from './dom.js'
import { openClient, wireOf } from './live.js'
import { api, me } from './person.js'
import { isAdopted, petName, watchPets } from './pets.js'
import { showNode } from './proof.js'

const wire = wireOf('auction')
const form = byId('auction-form')
const bids = byId('auction-bids')
/** Of the auction that is looked at. */
let client
let auction
let watching = new Set()
/** How often it has begun: what was asked before that is out of date. */
let begun = 0

export function startAuction (pets) {
  byId('auction-pets').append(...pets.map(({ petId, petName, kind }) => el('button', {
    type: 'button',
    ariaLabel: petName,
    title: petName,
    ariaPressed: 'false',
    dataset: { pet: petId },
    onclick: () => enter(petId)
  }, icon(`face-${kind}`, `face ${kind}`))))

  form.addEventListener('submit', event => {
    event.preventDefault()
    bid(form.elements.amount.valueAsNumber)
    form.reset()
  })
  for (const button of form.querySelectorAll('[data-raise]')) {
    button.addEventListener('click', () => bid(floor() + Number(button.dataset.raise)))
  }
  byId('auction-watch').addEventListener('click', () => {
    watch(auction.auctionId)
    render()
  })
  byId('auction-end').addEventListener('click', () => {
    api('POST', `/v1/auctions/${auction.auctionId}/${auction.over ? 'open' : 'end'}`).catch(error => toast(error.message))
  })
  setInterval(tick, 500)
  watchPets(petId => auction?.auctionId === petId && render())
  enter(pets[0].petId)
}

function enter (auctionId) {
  client?.close()
  watching = new Set()
  const current = auction = { auctionId }
  begin({ startingPrice: 0 })
  banner('')
  let loaded = false

  client = openClient(`/auctions/${encodeURIComponent(auctionId)}`, (state, node) => {
    if (auction !== current) return
    wire(state, node)
    showNode(node)
    if (state === 'live' && !loaded) load(current)
    loaded ||= state === 'live'
  })
  const topic = client.topic('auctions/:auctionId', { auctionId })
  // Nothing to go on from: events were lost for good.
  topic.on('reset', () => {
    begin({ startingPrice: 0 })
    load(current)
  })
  topic.on('bid', ({ data: { userId, amount } }) => {
    Object.assign(auction, { leader: userId, amount })
    log(`${userId === me ? 'You' : userId} bid ${money(amount)}`, userId)
    if (userId === me) banner('You are in the lead.', 'good')
    render()
  })
  topic.on('auction-clock', ({ data: { endsAt } }) => {
    auction.endsAt = endsAt
    tick()
  })
  topic.on('auction-end', ({ data: { winner } }) => {
    Object.assign(auction, { over: true, leader: winner })
    if (winner === null) banner(auction.amount === null ? 'Over, without a bid.' : 'Over: adopted meanwhile.')
    else banner(winner === me ? `It is yours for ${money(auction.amount)}!` : `Sold to ${winner} for ${money(auction.amount)}.`, winner === me ? 'good' : '')
    render()
  })
  topic.on('auction-open', ({ data: { startingPrice } }) => {
    begin({ startingPrice })
    banner('Open again.')
  })
  client.topic('auctions/:auctionId/users/:userId', { auctionId, userId: me })
    .on('outbid', ({ data }) => banner(`You have been outbid: ${money(data.newAmount)}.`, 'alert'))
}

function watch (petId) {
  watching.add(petId)
  const pet = client.topic('pets/:petId', { petId })
  pet.on('price-change', ({ data: { price } }) => log(`${petName(petId)} now costs ${money(price)} without an auction`))
  pet.on('status-change', ({ data: { status } }) => log(`${petName(petId)} is ${status.toLowerCase()}`))
}

function begin ({ startingPrice }) {
  begun++
  Object.assign(auction, { startingPrice, amount: null, leader: null, endsAt: null, over: false })
  bids.replaceChildren()
  render()
}

/** The channel brings what happens; what was before comes over HTTP, asked for once the channel is open. */
async function load (current) {
  const asked = begun
  try {
    const found = await api('GET', `/v1/auctions/${encodeURIComponent(current.auctionId)}`)
    if (auction !== current || begun !== asked) return
    // What was heard since the answer was made is newer than the answer.
    const older = (found.amount ?? 0) < (auction.amount ?? 0)
    const endsAt = auction.endsAt ?? found.endsAt
    Object.assign(auction, older ? { endsAt } : { ...found, endsAt })
    render()
  } catch (error) {
    toast(error.message)
  }
}

function bid (amount) {
  const current = auction
  if (!Number.isFinite(amount)) return
  client.send('bid', { amount }).catch(({ message }) => auction === current && banner(message, 'alert'))
}

function floor () {
  return auction.amount ?? auction.startingPrice
}

function render () {
  const { auctionId, amount, leader, over, startingPrice } = auction
  for (const button of byId('auction-pets').children) button.ariaPressed = String(button.dataset.pet === auctionId)
  byId('auction-pet').textContent = `${petName(auctionId)} · ${amount === null ? 'starts at' : !over ? 'highest bid' : leader === null ? 'last bid' : 'sold for'}`
  byId('auction-amount').textContent = money(amount ?? startingPrice)
  byId('auction-leader').replaceChildren(...(leader === null ? [isAdopted(auctionId) ? 'Adopted' : 'No bids yet'] : [avatar(leader), leader === me ? 'You' : leader]))
  form.elements.amount.placeholder = String(floor() + 5)
  const adopted = isAdopted(auctionId)
  for (const control of form.elements) control.disabled = over || adopted
  byId('auction-end').disabled = adopted
  byId('auction-watch').disabled = watching.has(auctionId)
  byId('auction-watch').textContent = watching.has(auctionId) ? 'Watching the price' : 'Watch the price'
  byId('auction-end').textContent = over ? 'Open it again' : 'End the auction'
  tick()
}

function tick () {
  byId('auction-clock').textContent = auction.over
    ? 'over'
    : auction.endsAt === null ? 'the first bid starts the clock' : `${remaining(auction.endsAt - Date.now())} left`
}

function remaining (ms) {
  const seconds = Math.max(0, Math.ceil(ms / 1000))
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')}`
}

function banner (text, tone = '') {
  const node = byId('auction-banner')
  node.textContent = text
  node.dataset.tone = tone
  node.hidden = text === ''
}

function log (text, userId) {
  prepend(bids, el('li', {},
    userId === undefined ? el('span', { className: 'avatar news', ariaHidden: 'true' }, 'i') : avatar(userId),
    el('span', { className: 'feed-text' }, text),
    el('time', {}, clock())), 20)
}
