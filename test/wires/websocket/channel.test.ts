/** What every wire does, by channels in both formats. Their own behaviour is in channel-*.test.ts. */
import type { FastifyInstance } from 'fastify'
import { openChannel, openEnvelope, Inbox, type Channel, type Ends, type Json } from '../../conformance/clients.ts'
import type { WireClient, WireEvent, WireSuiteOptions } from '../../../lib/conformance/index.ts'
import { wireConformance } from '../../helpers/suites.ts'

type Connect = WireSuiteOptions['connect']

/** `read` understands a text frame, `cut` a binary one. */
function wireClient (channel: Channel, read: (frame: Json) => WireEvent, cut: (bytes: Buffer) => WireEvent & { data: Buffer }, write: (event: string, data: object) => Json): WireClient {
  const inbox = new Inbox<WireEvent>()
  channel.ws.on('message', (data: Buffer, binary) => inbox.push(binary ? cut(data) : read(JSON.parse(data.toString()) as Json)))
  for (const frame of channel.inbox.all) inbox.push(read(frame))
  channel.ended.then(() => inbox.end('the channel was closed'), () => {})
  const next = (event?: string): Promise<WireEvent> =>
    inbox.take((one) => event === undefined ? !one.event.startsWith('realtime:') : one.event === event, event)
  return {
    next,
    nextBytes: async (event) => (await inbox.take((one) => one.data instanceof Buffer && (one.event === event || one.event === ''))).data as Buffer,
    heard: () => inbox.all,
    pause: () => channel.ws.pause(),
    resume: () => channel.ws.resume(),
    leave: () => channel.leave(),
    ended: channel.ended,
    send: (event, data) => channel.send(write(event, data))
  }
}

const connectFlat: Connect = async (t: Ends, app: FastifyInstance) => wireClient(await openChannel(t, app, '/channel'),
  ({ type, ...data }) => {
    if (type === 'error') return { event: `realtime:${String(data.code)}`, data }
    return { event: String(type), data: Object.keys(data).length === 1 && 'data' in data ? data.data : data }
  },
  (data) => ({ event: '', data }),
  (type, data) => ({ type, ...data }))

const connectEnvelope: Connect = async (t: Ends, app: FastifyInstance) => wireClient(await openEnvelope(t, app, '/channel'),
  ({ op, event, data, ...rest }) => op === undefined ? { event: String(event), data } : { event: `realtime:${String(op)}`, data: { data, ...rest } },
  (bytes) => {
    const length = bytes.readUInt32BE(0)
    const { event } = JSON.parse(bytes.subarray(4, 4 + length).toString()) as { event: string }
    return { event, data: bytes.subarray(4 + length) }
  },
  (event, data) => ({ event, data }))

wireConformance('WebSocket, flat', connectFlat)
wireConformance('WebSocket, envelope', connectEnvelope)
