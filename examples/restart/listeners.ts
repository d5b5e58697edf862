/** Two clients that listen through the proxy, each by the package's own client. */
import { connect, listen } from 'fastify-realtime/client'
import { WebSocket } from 'ws'
import { Tally } from './tally.ts'
import { TOPIC } from './ticks.ts'

interface Tick { n: number }

export interface Listener {
  tally: Tally
  stop: () => void
}

export function overSse (url: string): Listener {
  const tally = new Tally('SSE, listen()')
  const opened = openings(tally)
  const stop = listen(`${url}/events`, {
    on: { tick: ({ data }) => tally.hear((data as Tick).n) },
    state: ({ is }) => { if (is === 'open') opened() }
  })
  return { tally, stop }
}

export function overWebSocket (url: string): Listener {
  const tally = new Tally('WebSocket, connect()')
  const opened = openings(tally)
  const client = connect(`${url}/channel`, { WebSocket })
  client.topic(TOPIC).on('tick', ({ data }) => tally.hear((data as Tick).n))
  client.state.subscribe(() => { if (client.state.get().is === 'open') opened() })
  return { tally, stop: () => client.close() }
}

/** Each but the first is a reconnect. */
function openings (tally: Tally): () => void {
  let before = false
  return () => {
    if (before) tally.reconnect()
    before = true
  }
}
