/** One EventSource for all windows of this browser, which under HTTP/1.1 has only six connections for them. */
const ports = new Set()
const items = new Map()
let state = 'connecting'
let node
open()

self.onconnect = ({ ports: [port] }) => {
  ports.add(port)
  port.postMessage({ state, node, items: [...items.values()] })
}

function open () {
  const source = new EventSource('/v1/inventory/stream')
  source.onopen = () => turn('live')
  source.onerror = () => {
    turn('gone')
    if (source.readyState === EventSource.CLOSED) setTimeout(open, 2000)
  }
  source.addEventListener('node', ({ data }) => turn('live', JSON.parse(data).node))
  source.addEventListener('inventory', ({ data }) => keep(JSON.parse(data).items))
  source.addEventListener('stock', ({ data }) => keep([JSON.parse(data)]))
}

function turn (now, by) {
  state = now
  node = by
  tell({ state, node })
}

function keep (changed) {
  for (const item of changed) items.set(item.itemId, item)
  tell({ items: changed })
}

function tell (message) {
  for (const port of ports) port.postMessage(message)
}
