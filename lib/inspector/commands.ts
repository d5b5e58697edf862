/** What a page may ask by its channel, and the answers. */
import type { Insight } from '../insight.ts'
import type { Realtime } from '../types/realtime.ts'
import type { Nodes } from './nodes.ts'
import { isAct, MAX_FIND } from './said.ts'
import type { Acted, Description, NodeView, Past, PastEvent, Rows, ToCheck } from './shapes.ts'
import { shownData } from './tail.ts'

/** A history is read from its oldest event on, by pages of so many, at most so many of them. */
const PAGE = 1000
const MAX_PAGES = 10
/** Of what was read, so many of the newest are shown. */
const SHOWN = 200
/** Data of one answer: past it the oldest events are left out. */
const MAX_BYTES = 512 * 1024

export interface CommandsHost {
  readonly realtime: Realtime
  readonly insight: Insight
  readonly nodes: Nodes
  describe (): Description
  /** All pages are to know what this one has done. */
  tell (acted: Acted): void
}

interface Message { schema: object, handler: (data: unknown) => Promise<unknown> }

const text = { type: 'string', maxLength: 1024 } as const
const short = { type: 'string', maxLength: MAX_FIND, default: '' } as const
const object = (properties: object, required: string[] = []): object =>
  ({ type: 'object', properties, required, additionalProperties: false })

/** What goes wrong is an answer too: no fault of the page's, and nothing for the app's log. */
async function answered (run: () => unknown): Promise<unknown> {
  try {
    return { value: await run() ?? null }
  } catch (thrown) {
    const { code, message } = thrown as { code?: unknown, message?: unknown }
    return { error: String(message), code: typeof code === 'string' ? code : 'INTERNAL' }
  }
}

/** The messages of the page's channel. */
export function messagesOf (host: CommandsHost): Record<string, Message> {
  const { realtime, insight, nodes } = host
  const message = <Data>(schema: object, run: (data: Data) => unknown): Message => ({
    schema, handler: async (data) => await answered(() => run(data as Data))
  })
  return {
    describe: message(object({}), () => host.describe()),
    overview: message(object({}), async () => await overview(nodes)),
    topics: message(object({ find: short }), async ({ find }: { find: string }) =>
      rowsOf(await nodes.ask<'topics'>({ want: 'topics', find }))),
    connections: message(object({ find: short, mark: short }), async (wish: { find: string, mark: string }) =>
      rowsOf(await nodes.ask<'connections'>({ want: 'connections', ...wish }))),
    act: message(object({ act: text, node: text, connection: short }, ['act', 'node']), async (wish: Wished) =>
      await act(host, wish)),
    end: message(object({ connection: text }, ['connection']), async ({ connection }: { connection: string }) => {
      await realtime.disconnect({ connection }, { text: 'ended by the inspector' })
      host.tell({ act: 'end', node: '', connection, topic: '' })
    }),
    take: message(object({ connection: text, topic: text }, ['connection', 'topic']), async (taken: Taken) => {
      await realtime.revoke({ connection: taken.connection }, taken.topic)
      host.tell({ act: 'take', node: '', ...taken })
    }),
    history: message(object({ topic: text, after: text }, ['topic']), async (of: { topic: string, after?: string }) =>
      await past(realtime, of.topic, of.after)),
    state: message(object({ topic: text, after: text }, ['topic']), async (of: { topic: string, after?: string }) =>
      await stateOf(realtime, of.topic, of.after)),
    members: message(object({ topic: text }, ['topic']), async ({ topic }: { topic: string }) =>
      await insight.members(topic, SHOWN)),
    check: message(CHECK, async ({ events }: { events: ToCheck[] }) =>
      await Promise.all(events.map(async (event) => await faultOf(insight, event))))
  }
}

interface Wished { act: string, node: string, connection: string }
interface Taken { connection: string, topic: string }

const CHECK = object({
  events: {
    type: 'array',
    maxItems: 100,
    items: object({
      patterns: { type: 'array', maxItems: 64, items: text }, event: text, data: {}
    }, ['patterns', 'event'])
  }
}, ['events'])

async function overview (nodes: Nodes): Promise<{ nodes: NodeView[], silent: string[] }> {
  const { answers, silent } = await nodes.ask<'node'>({ want: 'node' })
  return { nodes: answers.map(({ said }) => said), silent }
}

interface HeardRows<Row> { answers: Array<{ said: { rows: Row[], cut: boolean } }>, silent: string[] }

function rowsOf<Row> ({ answers, silent }: HeardRows<Row>): Rows<Row> {
  return { rows: answers.flatMap(({ said }) => said.rows), cut: answers.some(({ said }) => said.cut), silent }
}

/** Resolves with whether a node has done it. */
async function act (host: CommandsHost, { act, node, connection }: Wished): Promise<boolean> {
  if (!isAct(act)) throw new Error('there is no such act')
  const wish = { want: 'act', act, node, connection } as const
  const done = node === host.insight.node
    ? host.nodes.askHere<'act'>(wish).done
    : (await host.nodes.ask<'act'>(wish)).answers.some(({ said }) => said.done)
  if (done) host.tell({ act, node, connection, topic: '' })
  return done
}

/**
 * What is behind `after`, or all. An adapter reads forwards alone: the newest events are the last of what is read, and
 * where there is more than is read at one time, `newer` says so.
 */
async function past (
  realtime: Realtime, topic: string, after: string | undefined
): Promise<Past & { linked: boolean }> {
  let events: PastEvent[] = []
  let [from, newer, linked, read] = [after, true, true, 0]
  for (let pages = 0; newer && pages < MAX_PAGES; pages++) {
    const page = await realtime.history(topic, { limit: PAGE, ...from !== undefined && { after: from } })
    if (pages === 0) linked = page.linked
    events = [...events, ...page.events].slice(-SHOWN)
    read += page.events.length
    newer = page.more
    from = page.events.at(-1)?.id ?? from
  }
  return { events: fitting(events), read, newer, linked }
}

/** From the newest backwards, as much as one answer takes. */
function fitting (events: PastEvent[]): PastEvent[] {
  let bytes = 0
  const shown = events.map((event) => ({ ...event, data: shownData(event.data) }))
  const first = shown.findLastIndex((event) => (bytes += JSON.stringify(event).length) > MAX_BYTES)
  return shown.slice(first + 1)
}

async function stateOf (realtime: Realtime, topic: string, after: string | undefined): Promise<unknown> {
  const page = await realtime.state(topic, { limit: SHOWN, ...after !== undefined && { after } })
  return { ...page, items: page.items.map((item) => ({ ...item, data: shownData(item.data) })) }
}

/** It fits where it fits one of the topics that it may be of. */
async function faultOf (insight: Insight, { patterns, event, data }: ToCheck): Promise<string | null> {
  let first: string | null = null
  for (const pattern of patterns) {
    const fault = await insight.faultOf(pattern, event, data)
    if (fault === undefined) return null
    first ??= fault
  }
  return first
}
