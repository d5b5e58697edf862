/** The browser's own WebSocket, with what that leaves to the page. */
import { asMe, stayIn } from './person.js'
import { count } from './proof.js'

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

/**
 * A WebSocket in the app's own JSON: the browser's own is enough, since the chat tells its history anew to whoever comes, and
 * nothing is resumed. It comes back, a little later each time.
 */
export function openChannel (path, { on, onBytes, onOpen, state }) {
  const socket = openSocket(path, {
    state,
    onOpen,
    onMessage (data) {
      if (typeof data !== 'string') return onBytes?.(data)
      const { type, ...rest } = JSON.parse(data)
      if (type === 'node') state('live', rest.node)
      on[type]?.(rest)
    }
  })
  return {
    send: (type, data) => socket.send(JSON.stringify({ type, ...data })),
    sendBytes: bytes => socket.send(bytes),
    close: socket.close
  }
}

/**
 * A WebSocket that resumes: in `fastify-realtime.v1` an event has an id and names the one before it. On its return the
 * client says the last ids, and hears what it missed. `onFresh`: there is nothing to go on from (the first time, or
 * because events were lost for good), so the state has to be loaded. `token`: what to show at the door, if anything.
 */
export function openResumingChannel (path, { on, onOpen, onFresh, state, token = () => undefined }) {
  const cursors = {}
  const heard = new Set()
  let refresh

  const socket = openSocket(path, {
    protocol: 'fastify-realtime.v1',
    state,
    onOpen: () => socket.send(JSON.stringify({ op: 'open', cursors, token: token() })),
    onMessage: data => hear(JSON.parse(data))
  })

  function hear ({ op, topic, id, prev, event, data, ...rest }) {
    if (rest.expires !== undefined) refreshIn(rest.expires / 2)
    if (op === 'open') onOpen?.()
    else if (op === 'bye') socket.comeBack(rest.reconnect ? rest.retry : undefined)
    else if (op === 'error') on.error?.(rest)
    else if (op === 'snapshot') show(topic, id, event, data)
    else if (op !== undefined) move(op, topic, id, rest)
    else if (event === 'node') state('live', data.node)
    else if (id === undefined || links(topic, id, prev)) on[event]?.(data)
  }

  /** Half of the time that a token lives has passed: a newer one takes its place, and nothing is interrupted. */
  function refreshIn (ms) {
    clearTimeout(refresh)
    refresh = setTimeout(async () => {
      if (await stayIn()) socket.send(JSON.stringify({ op: 'refresh', token: token() }))
    }, ms)
  }

  /** The topic's present state, or a part of it: only behind the last part there is something to go on from. */
  function show (topic, id, event, data) {
    if (id === undefined) delete cursors[topic]
    else cursors[topic] = id
    on[event]?.(data)
  }

  /** The position moves without an event. */
  function move (op, topic, id, { recovered }) {
    if (id !== undefined) cursors[topic] = id
    if (op === 'reset') count('resets')
    if (op === 'reset' || (op === 'subscribed' && recovered === undefined)) onFresh?.(topic)
  }

  /** An event that was heard before is not told again; one that does not follow the last is a gap. Both are counted. */
  function links (topic, id, prev) {
    const twice = heard.has(id)
    if (twice) count('doubled')
    else if (prev !== cursors[topic]) count('missed')
    if (twice) return false
    count('heard')
    cursors[topic] = id
    heard.add(id)
    if (heard.size > 1000) heard.delete(heard.values().next().value)
    return true
  }

  return {
    send: (event, data) => socket.send(JSON.stringify({ event, data })),
    close () {
      clearTimeout(refresh)
      socket.close()
    }
  }
}

function openSocket (path, { protocol, state, onOpen, onMessage }) {
  let socket
  let retry
  let wait = 500
  let closed = false
  open()

  function open () {
    const url = asMe(path)
    url.protocol = url.protocol.replace('http', 'ws')
    state('connecting')
    socket = protocol === undefined ? new WebSocket(url) : new WebSocket(url, protocol)
    socket.binaryType = 'arraybuffer'
    socket.onopen = () => {
      wait = 500
      state('live')
      onOpen?.()
    }
    socket.onmessage = ({ data }) => onMessage(data)
    socket.onclose = () => {
      state('gone')
      retry = setTimeout(reopen, wait)
      wait = Math.min(wait * 2, 8000)
    }
  }

  async function reopen () {
    const mayReturn = await stayIn()
    if (closed) return
    if (mayReturn) open()
    else state('idle')
  }

  function close () {
    closed = true
    clearTimeout(retry)
    socket.onclose = null
    socket.close()
  }

  return {
    close,
    send (data) {
      if (socket.readyState === WebSocket.OPEN) socket.send(data)
    },
    /** The server said when to return, or (undefined) not to. */
    comeBack (ms) {
      if (ms !== undefined) wait = ms
      else {
        close()
        state('idle')
        stayIn()
      }
    }
  }
}
