/** A publish, as the app asks for it, and what is found of it later. Public words: lib/types/ passes them on. */
import type { EventId } from './adapter.ts'

export interface PublishOptions {
  /**
   * Publishing again with this key inside the history's age returns the first event's id and publishes nothing. At most
   * 255 bytes.
   */
  dedupe?: string
  /**
   * Which older event of this name it replaces for a conflating (`slow: 'latest'`) listener. In a keyed topic, where it
   * is needed: the key whose newest event it is. At most 255 bytes.
   */
  key?: string
  /**
   * The id of a connection that does not get this event: its sender's, which knows it already. All others get it, and
   * it is in the history as any event is. A sender that reconnects has another id: it may then be given its own event.
   * At most 255 bytes.
   */
  except?: string
  /**
   * Appends only behind this event: the id of the topic's last one, or null for a topic without events. Else nothing is
   * published, and the promise rejects with FST_ERR_REALTIME_CONFLICT, whose `last` is the topic's last id. Decided in
   * one step, on any node. Needs history. Undefined expects nothing.
   */
  expect?: EventId | null
}

export interface Published {
  /** Undefined for a topic without history, and for the removal of a key that holds nothing. */
  id: EventId | undefined
}

/** One past event. */
export interface HistoryEvent {
  id: EventId
  event: string
  data: unknown
  /** In a keyed topic. */
  key?: string
}

/** The newest event of a key, as the state of a keyed topic holds it. */
export interface StateItem {
  key: string
  /** The id of that event. */
  id: EventId
  event: string
  data: unknown
}

export interface StatePage {
  /** In the order of their keys. */
  items: StateItem[]
  /** The id of the last event that the state contains: the state is the events up to it. */
  id: EventId
  /** How many keys the topic has. */
  size: number
  /** True when `limit` cut the page: the next starts `after` the last key. */
  more: boolean
}

export interface HistoryPage {
  events: HistoryEvent[]
  /** False when `after` is no longer (or never was) in the log: events between may be gone. */
  linked: boolean
  /** True when `limit` cut the page. */
  more: boolean
}
