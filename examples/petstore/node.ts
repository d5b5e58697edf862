/** Where several nodes serve the shop, each client is told which one it is on. */
import type { Connection } from 'fastify-realtime'
import type { petTopic } from './notifications.ts'
import type { Store } from './store.ts'

/** What the shop's plugins share. */
export interface Shop {
  store: Store
  /** This node's name, where there are several. */
  node: string | undefined
  /** What happens to one pet. */
  pet: ReturnType<typeof petTopic>
  /** How long an auction runs after its first bid, ms. */
  auctionMs: number
}

/** The `onConnect` of a stream or channel: an event for this client alone, and on a single node none. */
export function introducing (node: string | undefined): { onConnect?: (connection: Connection) => void } {
  return node === undefined ? {} : { onConnect: connection => connection.send('node', { node }) }
}
