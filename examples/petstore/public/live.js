/** The browser's own EventSource and WebSocket, with what each leaves to the page. */
import { asMe, signIn } from './person.js'

const words = { idle: '', connecting: 'connecting', live: 'live', gone: 'reconnecting', done: 'finished' }

/** Shows a connection's state in its panel's header; and which node it is on, where there are several. */
export function wireOf (panelId) {
  const wire = document.querySelector(`#${panelId} .wire`)
  return (state, node) => {
    // It is told once it is live: until then, as after a loss, the last one's name would be a guess.
    if (wire.dataset.state !== state && state === 'gone') lost()
    wire.dataset.state = state
    wire.textContent = state === 'live' && node !== undefined ? node : words[state]
  }
}

/**
 * An EventSource that is not given up. After a lost connection it comes back and resumes by itself. After any
 * answer that is not 200 (a proxy's 502, a session that is over) it closes for good: then a new one goes on from
 * the last id, unless there is nothing to hear any more.
 */
export function openStream (path, { on, state, isOver = async () => false }) {
  let source
  let lastId = ''
  let retry
  let closed = false
  open()

  function open () {
    const url = asMe(path)
    if (lastId !== '') url.searchParams.set('lastEventId', lastId)
    state('connecting')
    source = new EventSource(url)
    source.onopen = () => state('live')
    source.onerror = () => {
      state('gone')
      if (source.readyState === EventSource.CLOSED) retry = setTimeout(reopen, 2000)
    }
    const always = { 'realtime:open': () => {}, node: ({ node }) => state('live', node) }
    for (const [name, hear] of Object.entries({ ...always, ...on })) {
      source.addEventListener(name, event => {
        lastId = event.lastEventId
        hear(JSON.parse(event.data), event)
      })
    }
  }

  async function reopen () {
    await signIn().catch(() => {})
    const over = await isOver()
    if (closed) return
    if (over) state('idle')
    else open()
  }

  return {
    close () {
      closed = true
      clearTimeout(retry)
      source.close()
    }
  }
}

/** A WebSocket that comes back, a little later each time. */
export function openChannel (path, { on, onBytes, onOpen, state }) {
  let socket
  let retry
  let wait = 500
  let closed = false
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
      onOpen?.()
    }
    socket.onmessage = ({ data }) => {
      if (typeof data !== 'string') return onBytes?.(data)
      const { type, ...rest } = JSON.parse(data)
      on[type]?.(rest)
    }
    socket.onclose = () => {
      state('gone')
      retry = setTimeout(reopen, wait)
      wait = Math.min(wait * 2, 8000)
    }
  }

  async function reopen () {
    await signIn().catch(() => {})
    if (!closed) open()
  }

  return {
    send (type, data) {
      if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ type, ...data }))
    },
    sendBytes (bytes) {
      if (socket.readyState === WebSocket.OPEN) socket.send(bytes)
    },
    close () {
      closed = true
      clearTimeout(retry)
      socket.onclose = null
      socket.close()
    }
  }
}
