/** One stream for all windows of this browser, which under HTTP/1.1 has only six connections for them. */
import { listen } from '/fastify-realtime-client/index.js'

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
  listen('/v1/inventory/stream', {
    on: {
      node: ({ data }) => turn('live', data.node),
      inventory: ({ data }) => keepAll(items, 'items', data),
      'price-list': ({ data }) => keepAll(prices, 'prices', data),
      stock: ({ data }) => keep(items, 'items', [data]),
      price: ({ data }) => keep(prices, 'prices', [data]),
      'realtime:removed' ({ data: { topic, key } }) {
        if (topic !== 'inventory') return
        items.delete(key)
        tell({ gone: [key] })
      }
    },
    state ({ is }) {
      if (is === 'open') turn('live')
      if (is === 'waiting' || is === 'over') turn('gone')
      // A session that is over may begin again.
      if (is === 'over') setTimeout(open, 2000)
    }
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
