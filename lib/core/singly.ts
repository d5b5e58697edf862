/**
 * Events whose bytes cannot be made together: each is made for itself, and what cannot be made at all (another node let
 * data through that this one's encoder cannot read) is given up alone, and told as a loss. Its neighbours are delivered.
 */
import type { Subscription } from './connection.ts'
import { entriesFor, type Entry } from './event.ts'

export function giveSingly (subscription: Subscription, entries: readonly Entry[]): void {
  const { connection } = subscription
  for (const entry of entriesFor(connection, entries)) {
    // A loss may have ended it, or have made it wait for a snapshot that knows better.
    if (connection.closed || subscription.held) return
    if (entry.id !== undefined) subscription.at = entry.id
    const bytes = bytesOrLoss(subscription, entry)
    // A flat client is told no places.
    if (bytes && bytes.byteLength > 0) connection.write(bytes)
  }
}

/** Undefined where they cannot be made: the client has been told. Its subscription stands at the event already. */
export function bytesOrLoss (subscription: Subscription, entry: Entry): Uint8Array | undefined {
  try {
    return subscription.connection.outlet.encodeOne(entry, subscription)
  } catch (error) {
    lose(subscription, entry, error)
    return undefined
  }
}

function lose (subscription: Subscription, entry: Entry, error: unknown): void {
  const { connection, room } = subscription
  connection.hub.gaveUp(entry, room.name, error)
  // Only a snapshot makes good what is lost; it needs no place to go on from.
  if (room.topic.snapshot) return connection.reset(subscription, 'lost')
  connection.hub.counters.resets++
  connection.tell({ type: 'reset', subscription, reason: 'lost' })
}
