/**
 * One stream for all windows of this browser. Under HTTP/1.1 it has six connections for a site, and each stream takes one:
 * with a stream for each window, the seventh window would hear nothing.
 *
 * A window says who it is and which orders it follows. When the list of all windows changes, the stream is opened anew with
 * the new list, from the last id: nothing is missed.
 */
import { listen } from '/fastify-realtime-client/index.js'

/** Whatever is heard, by the windows that it is for. */
const ports = new Set()
/** What each window wants: `{ person, orders }`. */
const windows = new Map()
const items = new Map()
const prices = new Map()
const orders = new Map()

let state = 'connecting'
let node
let lastEventId = ''
let path
let leave
let updating
let calling

export function join (port) {
  ports.add(port)
  port.postMessage({ event: 'inventory', data: stateOf(items) })
  port.postMessage({ event: 'price-list', data: stateOf(prices) })
  port.onmessage = ({ data: { wants } }) => {
    if (wants === undefined) {
      ports.delete(port)
      windows.delete(port)
    } else {
      ports.add(port)
      windows.set(port, wants)
      for (const id of wants.orders) if (orders.has(id)) port.postMessage(orders.get(id))
    }
    // Soon: several windows may come or go at once.
    updating ??= setTimeout(update, 20)
  }
}

const stateOf = known => ({ part: 0, more: false, items: [...known.values()].map(data => ({ data })) })

function update () {
  updating = undefined
  const wanted = [...windows.values()]
  const followed = new Set(wanted.flatMap(({ orders }) => orders))
  for (const id of orders.keys()) if (!followed.has(id)) orders.delete(id)
  const query = new URLSearchParams([
    ...[...new Set(wanted.map(({ person }) => person))].sort().map(person => ['people', person]),
    ...[...followed].sort().map(id => ['orders', id])
  ])
  if (windows.size === 0) close()
  else if (leave !== undefined && path === `/v1/live?${query}`) tell({ state, node })
  else open(`/v1/live?${query}`)
}

function close () {
  leave?.()
  leave = path = undefined
}

function open (newPath) {
  close()
  path = newPath
  leave = listen(path, { on, state: turned, lastEventId })
}

function turned ({ is }) {
  if (is === 'open') turn('live')
  if (is === 'waiting' || is === 'over') turn('gone')
  // Somebody was signed out, or the shop has forgotten its sessions. Each window that is still there looks, and answers.
  if (is === 'over') {
    close()
    windows.clear()
    clearTimeout(calling)
    calling = setTimeout(tell, 2000, { call: true })
  }
}

function turn (now, by) {
  state = now
  node = by
  tell({ state, node })
}

const everybody = () => true
const itsPerson = ({ userId }) => userId === undefined ? everybody : ({ person }) => person === userId

const on = listening({
  node: ({ node }) => turn('live', node),
  'realtime:open': () => {},
  'realtime:reset': pass(),
  'status-change': pass(),
  'price-change': pass(),
  adoption: pass(itsPerson),
  message: pass(itsPerson),
  inventory: pass(undefined, data => keepAll(items, data)),
  'price-list': pass(undefined, data => keepAll(prices, data)),
  stock: pass(undefined, data => items.set(data.itemId, data)),
  price: pass(undefined, data => prices.set(data.itemId, data)),
  'realtime:removed': pass(undefined, ({ topic, key }) => (topic === 'inventory' ? items : prices).delete(key)),
  placed: ordered,
  shipped: ordered,
  delivered: ordered
})

function listening (on) {
  return Object.fromEntries(Object.entries(on).map(([name, hear]) => [name, ({ event, data, id }) => {
    lastEventId = id
    hear(data, event)
  }]))
}

/** To the windows that it is for; `keep` what a window that comes later has to know. */
function pass (isFor = () => everybody, keep = () => {}) {
  return (data, event) => {
    keep(data)
    tell({ event, data }, isFor(data))
  }
}

function ordered (data, event) {
  orders.set(data.orderId, { event, data })
  tell({ event, data }, ({ orders }) => orders.includes(data.orderId))
}

/** A part of a keyed topic's state: with the first, what was known is out of date. */
function keepAll (known, { part, items }) {
  if (part === 0) known.clear()
  for (const { data } of items) known.set(data.itemId, data)
}

function tell (message, isFor = everybody) {
  for (const port of ports) if (isFor(windows.get(port) ?? { orders: [] })) port.postMessage(message)
}
