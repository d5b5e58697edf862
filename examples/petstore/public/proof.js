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
