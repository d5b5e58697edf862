/** The page's own connection: the package's client, on the inspector's channel. */
import { connect, listen } from '../../client/index.ts'
import type {
  Acted, ConnectionRow, Description, NodeView, Past, Rows, TailEvent, ToCheck, TopicRow
} from '../shapes.ts'

/** The page's modules lie two folders below it. */
export const ROOT = new URL('../../', import.meta.url)
export const MARK = 'realtime-inspector-mark'

interface Answers {
  describe: Description
  overview: { nodes: NodeView[], silent: string[] }
  topics: Rows<TopicRow>
  connections: Rows<ConnectionRow>
  act: boolean
  end: null
  take: null
  history: Past & { linked: boolean }
  state: { items: Array<{ key: string, event: string, data: unknown }>, size: number, more: boolean }
  members: { members: Array<{ id: string, info?: unknown, state?: unknown }>, size: number }
  check: Array<string | null>
}

// Nothing is said again behind a lost connection: a restart that has cut this page would come again and again.
const client = connect(new URL('live', ROOT), { timeout: 40_000 })

export type LinkState = 'open' | 'away' | 'refused'

/** Told at once, and at each change. */
export function watchLink (run: (state: LinkState, code: string) => void): void {
  const look = (): void => {
    const state = client.state.get()
    if (state.is === 'refused') run('refused', state.code)
    else run(state.is === 'open' ? 'open' : 'away', '')
  }
  client.state.subscribe(look)
  look()
}

/** @throws Error with what the server says */
export async function ask<Name extends keyof Answers> (name: Name, data: object = {}): Promise<Answers[Name]> {
  const answer = await client.send(name as string, data) as { value?: Answers[Name], error?: string }
  if (answer.error !== undefined) throw new Error(answer.error)
  return answer.value as Answers[Name]
}

export async function check (events: ToCheck[]): Promise<Array<string | null>> {
  return await ask('check', { events })
}

/** What pages have done by inspectors, this one among them. It also keeps the connection open. */
export function watchActs (run: (acted: Acted) => void): void {
  client.topic('realtime-inspector/acts').on('acted', ({ data }) => run(data as Acted))
}

/** Returns what ends it. */
export function tail (topic: string, hear: (event: TailEvent) => void, told: (state: string) => void): () => void {
  const url = new URL('tail', ROOT)
  url.searchParams.set('topic', topic)
  return listen(url.href, {
    on: {
      live: () => told('Live: new events appear here, the newest first.'),
      tail: ({ data }) => hear(data as TailEvent),
      'realtime:aborted': () => told('The server has broken this off. Press "Follow live" to go on.')
    },
    state: (state) => {
      if (state.is === 'waiting') told('The connection was lost. It is opened again by itself.')
      if (state.is === 'over') told(`The server has ended this (${state.status}). Press "Follow live" to try again.`)
    }
  })
}
