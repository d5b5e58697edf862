/**
 * Reads what nodes say to each other. Threat: whoever may write to the adapter's server can say anything here, and a
 * node of another version may say what this one does not know. What is not understood is left out; all else is copied
 * member by member, and bounded. What a stranger can have done by it, an order of the nodes' own could do as well.
 */
import type { Act, ConnectionRow, NodeView, TopicRow, WireName } from './shapes.ts'

/** What is wanted of every node. */
export type Wish =
  | { want: 'node' }
  | { want: 'topics', find: string }
  | { want: 'connections', find: string, mark: string }
  | { want: 'act', act: Act, node: string, connection: string }
export type Want = Wish['want']
export type WishFor<W extends Want> = Extract<Wish, { want: W }>
/** A question: its name, and who asks. */
export interface Ask { ask: string, from: string, wish: Wish }

/** What a node says to each. */
export interface Said {
  node: NodeView
  topics: { rows: TopicRow[], cut: boolean }
  connections: { rows: ConnectionRow[], cut: boolean }
  act: { done: boolean }
}

export interface Answer<W extends Want = Want> { ask: string, node: string, said: Said[W] }

/** The names of nodes and of questions: they become part of a topic's name. */
const NODE = /^[A-Za-z0-9_-]{1,64}$/
/** A topic's name has 255 bytes; identities and URLs are the app's. */
const MAX_TEXT = 1024
export const MAX_FIND = 200
const MAX_TOPICS = 64
const MAX_REASONS = 16
const KINDS: readonly WireName[] = ['sse', 'websocket', 'process']
const ACTS: readonly string[] = ['drop', 'expire', 'stall', 'release', 'restart'] satisfies Act[]
const COUNTS = [
  'silent', 'uptime', 'topics', 'published', 'delivered', 'replayed', 'recovered', 'resets', 'slowClosed', 'dropped',
  'refused', 'slowNow', 'stalled'
] as const satisfies Array<keyof NodeView>

type Members = Record<string, unknown>

/** Undefined for what is no question. */
export function readAsk (value: unknown): Ask | undefined {
  const { ask, from, wish } = membersOf(value)
  const read = readWish(membersOf(wish))
  return read && isNode(ask) && isNode(from) ? { ask, from, wish: read } : undefined
}

function readWish ({ want, find, mark, act, node, connection }: Members): Wish | undefined {
  if (want === 'node') return { want }
  if (want === 'topics') return isShort(find) ? { want, find } : undefined
  if (want === 'connections') return isShort(find) && isShort(mark) ? { want, find, mark } : undefined
  if (want !== 'act' || !isAct(act) || !isNode(node) || !isShort(connection)) return undefined
  return { want, act, node, connection }
}

/** Undefined for what is no answer to this question. `maxRows`: of its rows no more are looked at. */
export function readAnswer<W extends Want> (value: unknown, want: W, maxRows: number): Answer<W> | undefined {
  const { ask, node, said } = membersOf(value)
  if (!isNode(ask) || !isNode(node)) return undefined
  const read = (READERS[want] as (said: Members, node: string, maxRows: number) => Said[W] | undefined)(
    membersOf(said), node, maxRows)
  return read && { ask, node, said: read }
}

/** Which question is it that is answered, and by whom? */
export function readHead (value: unknown): { ask: string, node: string } | undefined {
  const { ask, node } = membersOf(value)
  return isNode(ask) && isNode(node) ? { ask, node } : undefined
}

const READERS: { [W in Want]: (said: Members, node: string, maxRows: number) => Said[W] | undefined } = {
  node: readNode,
  topics: (said, node, most) => readRows(said, most, (row) => readTopic(row, node)),
  connections: (said, node, most) => readRows(said, most, (row) => readConnection(row, node)),
  act: ({ done }) => typeof done === 'boolean' ? { done } : undefined
}

function readNode (said: Members, node: string): NodeView | undefined {
  const counts = countsOf(said, COUNTS)
  const adapter = membersOf(said.adapter)
  const connections = countsOf(membersOf(said.connections), KINDS)
  if (!counts || !connections) return undefined
  return {
    ...counts,
    node,
    connections,
    resetReasons: reasonsOf(membersOf(said.resetReasons)),
    adapter: { name: textOf(adapter.name), state: textOf(adapter.state) }
  }
}

function readRows<Row> (
  { rows, cut }: Members, most: number, read: (row: Members) => Row | undefined
): { rows: Row[], cut: boolean } | undefined {
  if (!Array.isArray(rows) || typeof cut !== 'boolean') return undefined
  const looked = rows.slice(0, most).flatMap((row) => read(membersOf(row)) ?? [])
  return { rows: looked, cut: cut || rows.length > most }
}

function readTopic ({ name, pattern, listeners }: Members, node: string): TopicRow | undefined {
  if (!isText(name) || !isText(pattern) || !isCount(listeners)) return undefined
  return { name, pattern, listeners, node }
}

function readConnection (row: Members, node: string): ConnectionRow | undefined {
  const { id, kind, identity, age, beat, buffered, topics, more } = row
  if (!isText(id) || !isText(identity) || !KINDS.includes(kind as WireName) || !Array.isArray(topics)) return undefined
  if (![age, buffered, more].every(isCount) || typeof beat !== 'number' || !(beat >= -1)) return undefined
  return {
    node,
    id,
    kind: kind as WireName,
    identity,
    anonymous: row.anonymous === true,
    address: textOf(row.address),
    url: textOf(row.url),
    age: age as number,
    beat,
    buffered: buffered as number,
    stalled: row.stalled === true,
    topics: topics.slice(0, MAX_TOPICS).filter(isText),
    more: more as number,
    own: row.own === true
  }
}

function countsOf<Name extends string> (value: Members, names: readonly Name[]): Record<Name, number> | undefined {
  const counts = names.map((name) => [name, value[name]] as const)
  return counts.every(([, count]) => isCount(count)) ? Object.fromEntries(counts) as Record<Name, number> : undefined
}

function reasonsOf (value: Members): Record<string, number> {
  return Object.fromEntries(Object.entries(value).slice(0, MAX_REASONS)
    .filter((pair): pair is [string, number] => isText(pair[0]) && isCount(pair[1])))
}

function membersOf (value: unknown): Members {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? value as Members : {}
}

function isNode (value: unknown): value is string { return typeof value === 'string' && NODE.test(value) }
export function isAct (value: unknown): value is Act { return ACTS.includes(value as string) }
function isShort (value: unknown): value is string { return typeof value === 'string' && value.length <= MAX_FIND }
function isCount (value: unknown): value is number { return Number.isSafeInteger(value) && (value as number) >= 0 }

function isText (value: unknown): value is string {
  return typeof value === 'string' && value !== '' && value.length <= MAX_TEXT
}

function textOf (value: unknown): string { return typeof value === 'string' ? value.slice(0, MAX_TEXT) : '' }

/** What another node could not read is cut here. */
export function cutText (text: string): string { return text.slice(0, MAX_TEXT) }
export { MAX_TOPICS as MAX_TOPICS_SHOWN }
