/** What this node says of itself. Made when it is asked, and at no other time. */
import type { Insight, SeenConnection, SeenTopic } from '../insight.ts'
import type { Realtime } from '../types/realtime.ts'
import type { ConnectionRow, NodeView, TopicRow } from './shapes.ts'
import { cutText, MAX_TOPICS_SHOWN } from './said.ts'

/** Topics of the inspector's own start with it. */
export const OWN = 'realtime-inspector/'
/** The cookie, or the header, by which the page finds the clients that it has opened itself. */
export const MARK = 'realtime-inspector-mark'

export interface Bounds {
  readonly maxRows: number
  /** Of the rows, where another node has asked: they have to fit into one event. */
  readonly maxBytes: number
}
/** For whom it is: a page of this node's, or another node. */
export type Asker = 'page' | 'node'

/** Of the rows for a page. */
const PAGE_BYTES = 512 * 1024

type Cut<Row> = { rows: Row[], cut: boolean }

export class OwnNode {
  readonly #realtime: Realtime
  readonly #insight: Insight
  readonly #bounds: Bounds
  readonly #reasons: () => Record<string, number>
  readonly #isOwn: (id: string) => boolean
  readonly #began = performance.now()

  /** `isOwn`: is this connection one of the inspector's pages? */
  constructor (
    realtime: Realtime, insight: Insight, bounds: Bounds,
    { reasons, isOwn }: { reasons: () => Record<string, number>, isOwn: (id: string) => boolean }
  ) {
    this.#realtime = realtime
    this.#insight = insight
    this.#bounds = bounds
    this.#reasons = reasons
    this.#isOwn = isOwn
  }

  view (): NodeView {
    const { adapter, ...counts } = this.#realtime.stats()
    const connections = { sse: 0, websocket: 0, process: 0 }
    let [slowNow, stalled] = [0, 0]
    for (const connection of this.#insight.connections()) {
      if (connection.buffered > 0) slowNow++
      if (connection.stalled) stalled++
      if (!this.#owns(connection)) connections[connection.kind]++
    }
    const { published, delivered, replayed, recovered, resets, slowClosed, dropped, refused } = counts
    return {
      node: this.#insight.node,
      silent: 0,
      uptime: Math.round(performance.now() - this.#began),
      connections,
      topics: this.#heard().length,
      published,
      delivered,
      replayed,
      recovered,
      resets,
      resetReasons: this.#reasons(),
      slowClosed,
      dropped,
      refused,
      slowNow,
      stalled,
      adapter: { name: adapter.name, state: adapter.state === 'down' ? 'down' : 'up' }
    }
  }

  /** Those with the most listeners first. */
  topics (find: string, asker: Asker): Cut<TopicRow> {
    const node = this.#insight.node
    const found = this.#heard()
      .filter(({ name }) => name.includes(find))
      .sort((a, b) => b.listeners - a.listeners)
    return this.#fit(asker, found, ({ name, pattern, listeners }) => ({ name, pattern, listeners, node }))
  }

  /** The newest first. `mark`: those alone whose request bears it. */
  connections (find: string, mark: string, asker: Asker): Cut<ConnectionRow> {
    const found = [...this.#insight.connections()]
      .filter((connection) => mark === '' ? matches(connection, find) : isMarked(connection, mark))
      .sort((a, b) => b.since - a.since)
    return this.#fit(asker, found, (connection) => this.#row(connection))
  }

  #heard (): SeenTopic[] {
    return [...this.#insight.topics()].filter(({ name }) => !name.startsWith(OWN))
  }

  #row (connection: SeenConnection): ConnectionRow {
    const now = Date.now()
    const { id, kind, identity, anonymous, address, url, since, beat, buffered, stalled, topics } = connection
    const shown = topics.slice(0, MAX_TOPICS_SHOWN)
    return {
      node: this.#insight.node,
      id,
      kind,
      identity: cutText(identity),
      anonymous,
      address,
      url: cutText(url),
      age: Math.max(0, now - since),
      beat: beat === 0 ? -1 : Math.max(0, now - beat),
      buffered,
      stalled,
      topics: shown,
      more: topics.length - shown.length,
      own: this.#owns(connection)
    }
  }

  /** Topics of its own are heard in the process alone: of others the topics are not looked at. */
  #owns (connection: SeenConnection): boolean {
    if (connection.kind !== 'process') return this.#isOwn(connection.id)
    return connection.topics.some((name) => name.startsWith(OWN))
  }

  /** As many as fit. */
  #fit<From, Row> (asker: Asker, all: readonly From[], rowOf: (one: From) => Row): Cut<Row> {
    const { maxRows } = this.#bounds
    const maxBytes = asker === 'node' ? this.#bounds.maxBytes : PAGE_BYTES
    const rows: Row[] = []
    let bytes = 0
    for (const one of all) {
      const row = rowOf(one)
      bytes += Buffer.byteLength(JSON.stringify(row)) + 1
      if (rows.length === maxRows || bytes > maxBytes) return { rows, cut: true }
      rows.push(row)
    }
    return { rows, cut: false }
  }
}

function matches ({ id, identity, url, address, topics }: SeenConnection, find: string): boolean {
  return find === '' || [id, identity, url, address, ...topics].some((text) => text.includes(find))
}

/** A fetch can send a header, and a WebSocket of a page a cookie. */
function isMarked (connection: SeenConnection, mark: string): boolean {
  if (connection.header(MARK) === mark) return true
  return connection.header('cookie').split(/; */).includes(`${MARK}=${mark}`)
}
