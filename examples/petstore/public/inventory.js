import { byId, el, toast } from './dom.js'
import { wireOf } from './live.js'
import { api } from './person.js'
import { hear } from './stream.js'

const items = new Map()
const prices = new Map()

export function startInventory () {
  hear({
    state: wireOf('inventory', false),
    on: {
      inventory: ({ part, items: all }) => {
        // What is not in the new state is gone; what is in it stays where it is, so that a change can be seen.
        if (part === 0) for (const itemId of [...items.keys()]) if (!all.some(({ data }) => data.itemId === itemId)) drop(itemId)
        for (const { data } of all) show(data)
      },
      'price-list': ({ items: all }) => all.forEach(({ data }) => showPrice(data)),
      stock: show,
      price: showPrice,
      'realtime:removed': ({ topic, key }) => topic === 'inventory' && drop(key)
    }
  })
}

const rowOf = itemId => byId('inventory-board').querySelector(`[data-item="${CSS.escape(itemId)}"]`)

function drop (itemId) {
  items.delete(itemId)
  rowOf(itemId)?.remove()
}

function showPrice (priced) {
  const known = prices.get(priced.itemId)
  prices.set(priced.itemId, priced)
  const row = rowOf(priced.itemId)
  if (row === null) return
  const button = row.querySelector('.price')
  button.textContent = `$${priced.price}`
  button.ariaLabel = `$${priced.price}: raise the price of ${items.get(priced.itemId).name}`
  if (known !== undefined && known.price !== priced.price) flash(row)
}

function show (item) {
  const known = items.get(item.itemId)
  items.set(item.itemId, item)
  const row = rowOf(item.itemId) ?? addRow(item)
  row.querySelector('output').textContent = item.stock
  row.querySelector('.level').style.setProperty('--level', Math.min(1, item.stock / item.full))
  row.dataset.low = item.stock < item.full / 4
  if (known !== undefined && known.stock !== item.stock) flash(row)
}

function addRow ({ itemId, name }) {
  const change = by => () => {
    api('PATCH', `/v1/inventory/${itemId}`, { stock: Math.max(0, items.get(itemId).stock + by) })
      .catch(error => toast(error.message))
  }
  const row = el('li', { dataset: { item: itemId } },
    el('span', { className: 'item-name' }, name),
    el('button', { type: 'button', className: 'price', onclick: raise(itemId) }),
    el('span', { className: 'level' }),
    el('div', { className: 'stepper', role: 'group', ariaLabel: `Stock of ${name}` },
      el('button', { type: 'button', ariaLabel: 'One less', onclick: change(-1) }, '−'),
      el('output', {}),
      el('button', { type: 'button', ariaLabel: 'One more', onclick: change(1) }, '+')))
  byId('inventory-board').append(row)
  if (prices.has(itemId)) showPrice(prices.get(itemId))
  return row
}

const raise = itemId => () => {
  api('PATCH', `/v1/inventory/${itemId}/price`, { price: (prices.get(itemId)?.price ?? 0) + 1 })
    .catch(error => toast(error.message))
}

function flash (row) {
  row.classList.remove('changed')
  requestAnimationFrame(() => row.classList.add('changed'))
}
