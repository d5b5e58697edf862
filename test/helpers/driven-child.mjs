// The built client in a process of its own, driven by lines of JSON: what a client in another language does.
import { createInterface } from 'node:readline'
import { connect } from 'fastify-realtime/client'
import { WebSocket } from 'ws'

const tell = (saw) => console.log(JSON.stringify(saw))
const orders = createInterface({ input: process.stdin })[Symbol.asyncIterator]()
const { url, topics, tokens, delay, patience } = JSON.parse((await orders.next()).value)

let asked = 0
const token = tokens.length > 0 ? () => tokens[Math.min(asked++, tokens.length - 1)] : undefined
const client = connect(url, { WebSocket, token, firstDelay: delay, longestDelay: delay, handshakeTimeout: patience })
client.state.subscribe(() => {
  const { is, code } = client.state.get()
  if (is === 'refused') tell({ saw: 'over', code })
})
for (const topic of topics) {
  client.topic(topic).on('*', ({ event, id, data }) => {
    if (event === 'reset' || event === 'snapshot') tell({ saw: event, topic, ...event === 'snapshot' && { data } })
    else if (event !== 'error') tell({ saw: 'event', topic, event, id, data })
    else if (client.state.get().is === 'open') tell({ saw: 'error', topic, code: data.code })
  })
}
for await (const line of orders) {
  if (JSON.parse(line).do === 'close') break
}
client.close()
