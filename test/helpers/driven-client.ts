/** The library's own client, as the client suite drives one. */
import { WebSocket } from 'ws'
import { connect, http, listen, websocket, type RealtimeError } from '../../lib/client/index.ts'
import type { ClientOrder, ClientSaw, DrivenClient, DriveClient } from '../../lib/conformance/index.ts'
import type { SocketClass } from '../../lib/client/websocket.ts'

export const drive: DriveClient = (order, tell) => order.wire === 'sse' ? stream(order, tell) : channel(order, tell)

function channel ({ wire, url, topics, tokens, delay, patience }: ClientOrder, tell: (saw: ClientSaw) => void): DrivenClient {
  let asked = 0
  const client = connect(url, {
    WebSocket: WebSocket as unknown as SocketClass,
    wire: wire === 'http' ? http : websocket,
    firstDelay: delay,
    longestDelay: delay,
    handshakeTimeout: patience,
    ...tokens.length > 0 && { token: () => tokens[Math.min(asked++, tokens.length - 1)] as string }
  })
  client.state.subscribe(() => {
    const state = client.state.get()
    if (state.is === 'open') tell({ saw: 'open' })
    if (state.is === 'refused') tell({ saw: 'over', code: state.code })
  })
  for (const topic of topics) {
    client.topic(topic).on('*', ({ event, id, data }) => {
      if (event === 'error') {
        if (client.state.get().is !== 'refused') tell({ saw: 'error', topic, code: (data as RealtimeError).code })
      } else if (event === 'reset') tell({ saw: 'reset', topic })
      else if (event === 'snapshot') tell({ saw: 'snapshot', topic, data })
      else if (data instanceof Uint8Array) tell({ saw: 'event', topic, event, id, data: Buffer.from(data).toString('base64'), bytes: true })
      else tell({ saw: 'event', topic, event, id, data })
    })
  }
  return {
    send ({ n, event, data }) {
      client.send(event, data).then(
        (reply) => tell({ saw: 'reply', n, data: reply }),
        ({ code }: RealtimeError) => tell({ saw: 'failed', n, code })
      )
    },
    close: () => client.close()
  }
}

function stream ({ url, events, delay }: ClientOrder, tell: (saw: ClientSaw) => void): DrivenClient {
  const leave = listen(url, {
    firstDelay: delay,
    longestDelay: delay,
    on: {
      ...Object.fromEntries(events.map((name) => [name, ({ event, id, data }) => tell({ saw: 'event', event, id, data })])),
      'realtime:reset': () => tell({ saw: 'reset' })
    },
    state: ({ is }) => { if (is === 'over') tell({ saw: 'over' }) }
  })
  return { close: leave }
}
