/** This window's part of the browser's one stream. */
import { me, stayIn } from './person.js'

const panels = []
const orders = new Set()
let signedOut = false
let port

/** `on`: what is called for each event, by its name. `state`: of the stream, and the node that it is on. */
export function hear ({ on, state }) {
  panels.push({ on, state })
}

/** An order is heard from its present state on, until it is unfollowed. */
export function follow (orderId) {
  orders.add(orderId)
  ask()
}

export function unfollow (orderId) {
  orders.delete(orderId)
  ask()
}

/** To be called when every panel hears. */
export async function openStream () {
  port = await portOfHub()
  port.onmessage = ({ data }) => heard(data)
  ask()
  // A window that is gone is no reason to hear its person any more; it may come back, by the browser's "back".
  addEventListener('pagehide', () => port.postMessage({}))
  addEventListener('pageshow', ({ persisted }) => persisted && ask())
}

async function portOfHub () {
  if (typeof SharedWorker === 'function') return new SharedWorker('/stream-worker.js', { name: 'stream', type: 'module' }).port
  // Some phones have none: there each window has a stream of its own.
  const { join } = await import('./hub.js')
  const { port1, port2 } = new MessageChannel()
  join(port1)
  return port2
}

function ask () {
  if (!signedOut) port?.postMessage({ wants: { person: me, orders: [...orders] } })
}

function heard ({ event, data, state, node, call }) {
  if (signedOut) return
  if (call) answer()
  for (const panel of panels) {
    if (state !== undefined) panel.state(state, node)
    if (event !== undefined) panel.on[event]?.(data)
  }
}

async function answer () {
  signedOut = !await stayIn()
  if (!signedOut) return ask()
  for (const { state } of panels) state('idle')
}
