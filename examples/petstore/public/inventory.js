import { byId, el, toast } from './dom.js'
import { openStream, wireOf } from './live.js'
import { api } from './person.js'

const items = new Map()

export function startInventory () {
  const wire = wireOf('inventory')
  if (typeof SharedWorker === 'function') {
    // The board is the same for everybody, so all windows of the browser share one connection.
    const worker = new SharedWorker('/inventory-worker.js', { name: 'inventory' })
    worker.port.onmessage = ({ data }) => {
      if (data.state !== undefined) wire(data.state, data.node)
      for (const item of data.items ?? []) show(item)
    }
  } else {
    openStream('/v1/inventory/stream', {
      state: wire,
      on: { inventory: ({ items }) => items.forEach(show), stock: show }
    })
  }
}

function show (item) {
  const known = items.get(item.itemId)
  items.set(item.itemId, item)
  const row = byId('inventory-board').querySelector(`[data-item="${CSS.escape(item.itemId)}"]`) ?? addRow(item)
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
    el('span', { className: 'level' }),
    el('div', { className: 'stepper', role: 'group', ariaLabel: `Stock of ${name}` },
      el('button', { type: 'button', ariaLabel: 'One less', onclick: change(-1) }, '−'),
      el('output', {}),
      el('button', { type: 'button', ariaLabel: 'One more', onclick: change(1) }, '+')))
  byId('inventory-board').append(row)
  return row
}

function flash (row) {
  row.classList.remove('changed')
  requestAnimationFrame(() => row.classList.add('changed'))
}
