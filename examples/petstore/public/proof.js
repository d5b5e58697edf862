/** What this window saw of its connections, and on which node it is where there are several. */
import { byId } from './dom.js'

const counts = { heard: 0, missed: 0, doubled: 0, resets: 0, reconnects: 0 }

export function count (what, by = 1) {
  counts[what] += by
  byId('proof').querySelector(`[data-count="${what}"]`).textContent = counts[what]
}

/** Which node the auction is on; undefined: on none at the moment. */
export function showNode (node) {
  if (node !== undefined) byId('proof-nodes').hidden = false
  byId('proof-node').textContent = node ?? 'none'
}

/** Where each topic's log is, and what was heard of it lately. No two clients of the page hear the same topic. */
const places = new Map()
const heard = new Set()

/**
 * What the client hears by is looked at here as well, before the client has looked: each event has an id and names the one before
 * it. An event that was heard before, and one that does not follow the last, are counted.
 */
export class AuditedSocket extends WebSocket {
  #over = false

  constructor (url, protocols) {
    super(url, protocols)
    this.addEventListener('message', ({ data }) => {
      if (!this.#over && typeof data === 'string') audit(JSON.parse(data))
    })
  }

  close (...why) {
    this.#over = true
    super.close(...why)
  }
}

function audit ({ op, topic, id, prev }) {
  if (op === 'reset') count('resets')
  // What has no id is in no history: a pointer that moves, or an event for this client alone.
  if (id === undefined) return
  if (op === undefined) follow(topic, id, prev)
  places.set(topic, id)
}

function follow (topic, id, prev) {
  if (heard.has(id)) return count('doubled')
  if (prev !== places.get(topic)) count('missed')
  count('heard')
  heard.add(id)
  if (heard.size > 1000) heard.delete(heard.values().next().value)
}
