/** One EventSource for all windows of this browser, which under HTTP/1.1 has only six connections for them. */
const ports = new Set()
const items = new Map()
const prices = new Map()
let state = 'connecting'
let node
open()

self.onconnect = ({ ports: [port] }) => {
  ports.add(port)
  port.postMessage({ state, node, items: [...items.values()], prices: [...prices.values()] })
}

function open () {
  const source = new EventSource('/v1/inventory/stream')
  source.onopen = () => turn('live')
  source.onerror = () => {
    turn('gone')
    if (source.readyState === EventSource.CLOSED) setTimeout(open, 2000)
  }
  source.addEventListener('node', ({ data }) => turn('live', JSON.parse(data).node))
  source.addEventListener('inventory', ({ data }) => keepAll(items, 'items', JSON.parse(data)))
  source.addEventListener('price-list', ({ data }) => keepAll(prices, 'prices', JSON.parse(data)))
  source.addEventListener('stock', ({ data }) => keep(items, 'items', [JSON.parse(data)]))
  source.addEventListener('price', ({ data }) => keep(prices, 'prices', [JSON.parse(data)]))
  source.addEventListener('realtime:removed', ({ data }) => {
    const { topic, key } = JSON.parse(data)
    if (topic !== 'inventory') return
    items.delete(key)
    tell({ gone: [key] })
  })
}

function turn (now, by) {
  state = now
  node = by
  tell({ state, node })
}

/** A part of a keyed topic's state: with the first, what was known is out of date. */
function keepAll (known, name, { part, items: all }) {
  if (part === 0) {
    if (name === 'items') tell({ gone: [...known.keys()].filter(key => !all.some(item => item.key === key)) })
    known.clear()
  }
  keep(known, name, all.map(({ data }) => data))
}

function keep (known, name, changed) {
  for (const item of changed) known.set(item.itemId, item)
  tell({ [name]: changed })
}

function tell (message) {
  for (const port of ports) port.postMessage(message)
}
