/** Two ways to a channel: by the library's client, and by the browser's own WebSocket, with what that leaves to the page. */
import { connect } from '/fastify-realtime-client/index.js'
import { asMe, myToken, stayIn } from './person.js'
import { AuditedSocket, count } from './proof.js'

const words = { idle: '', connecting: 'connecting', live: 'live', gone: 'reconnecting', done: 'finished' }

/**
 * Shows a connection's state in its panel's header; `node` says which node it is on, where there are several. Panels that
 * share a connection count its returns once.
 */
export function wireOf (panelId, counted = true) {
  const wire = document.querySelector(`#${panelId} .wire`)
  let away = false
  return (state, node) => {
    if (state === 'live' && away && counted) count('reconnects')
    if (state === 'live' || state === 'gone') away = state === 'gone'
    wire.dataset.state = state
    wire.textContent = node ?? words[state]
  }
}

/** Of the client, in this page's words. */
const states = {
  idle: 'idle', connecting: 'connecting', open: 'live', waiting: 'gone', offline: 'gone', refused: 'idle', closed: 'idle'
}

/** The library's client: it comes back, resumes, renews its token, and answers what is sent. */
export function openClient (path, state) {
  const client = connect(asMe(path), { WebSocket: AuditedSocket, firstDelay: 500, longestDelay: 8000, token })
  client.state.subscribe(() => {
    const { is } = client.state.get()
    state(states[is])
    // Signed out, on whichever window that was.
    if (is === 'refused') stayIn()
  })
  // Where there are several nodes, each introduces itself to whoever it serves.
  client.on('node', ({ data }) => state('live', data.node))

  /** Asked for before each connection, so that a shop that has forgotten its sessions is signed in to again. */
  async function token () {
    if (!await stayIn()) client.close()
    return myToken()
  }

  return client
}

/**
 * A WebSocket in the app's own JSON: the browser's own is enough, since the chat tells its history anew to whoever comes, and
 * nothing is resumed. It comes back, a little later each time.
 */
export function openChannel (path, { on, onBytes, state }) {
  let socket
  let retry
  let wait = 500
  open()

  function open () {
    const url = asMe(path)
    url.protocol = url.protocol.replace('http', 'ws')
    state('connecting')
    socket = new WebSocket(url)
    socket.binaryType = 'arraybuffer'
    socket.onopen = () => {
      wait = 500
      state('live')
    }
    socket.onmessage = ({ data }) => typeof data === 'string' ? hear(JSON.parse(data)) : onBytes(data)
    socket.onclose = () => {
      state('gone')
      clearTimeout(retry)
      retry = setTimeout(reopen, wait)
      wait = Math.min(wait * 2, 8000)
    }
  }

  function hear ({ type, ...rest }) {
    if (type === 'node') state('live', rest.node)
    on[type]?.(rest)
  }

  async function reopen () {
    if (await stayIn()) open()
    else state('idle')
  }

  function say (data) {
    if (socket.readyState === WebSocket.OPEN) socket.send(data)
  }

  return {
    send: (type, data) => say(JSON.stringify({ type, ...data })),
    sendBytes: say
  }
}
