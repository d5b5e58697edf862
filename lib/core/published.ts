/** The options of a publish, its result, and events and states as they are read. Public: lib/types/ exports them. */
import type { EventId } from './adapter.ts'

/** Each string has 1 to 255 bytes. A wrong or unknown option rejects with FST_ERR_REALTIME_PUBLISH_OPTION. */
export interface PublishOptions {
  /**
   * Publishes an event only once: if you publish again with this key within the history's `maxAge`, you get the id of
   * the first event, and nothing is published.
   */
  dedupe?: string
  /**
   * For a client with `slow: 'latest'`, the event replaces older waiting ones with the same name and key. In a keyed
   * topic it is required: the event becomes the newest one of this key.
   */
  key?: string
  /**
   * The id of a connection that does not get this event, usually its sender's. All others get it, and it is in the
   * history. If the sender reconnects, it has another id and may get the event.
   */
  except?: string
  /**
   * Publishes only if this is the id of the topic's last event, or null for a topic without events. Otherwise nothing
   * is published, and the promise rejects with FST_ERR_REALTIME_CONFLICT, whose `last` is the topic's last id. This is
   * decided in one step for all nodes. Needs history. Undefined: any event may be the last.
   */
  expect?: EventId | null
}

/** What a publish or a removal resolves with. */
export interface Published {
  /** The id of the event. Undefined for a topic without history, and if the key to remove held nothing. */
  id: EventId | undefined
}

/** One past event. */
export interface HistoryEvent {
  id: EventId
  event: string
  data: unknown
  /** The event's key, in a keyed topic. */
  key?: string
}

/** The newest event of one key of a keyed topic. */
export interface StateItem {
  key: string
  /** The id of that event. */
  id: EventId
  event: string
  data: unknown
}

/** A page of the state of a keyed topic. */
export interface StatePage {
  /** In the order of their keys, by UTF-16 code units. */
  items: StateItem[]
  /** The id of the last event that the state contains. */
  id: EventId
  /** How many keys the topic has. */
  size: number
  /** True if `limit` cut the page. Read the next page with `after: <the last key>`. */
  more: boolean
}

/** A page of past events. */
export interface HistoryPage {
  /** In order. */
  events: HistoryEvent[]
  /** False if `after` is not in the log (any more): events between may be missing. */
  linked: boolean
  /** True if `limit` cut the page. Read the next page with `after: <the last id>`. */
  more: boolean
}
