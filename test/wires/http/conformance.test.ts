/** What every wire does, by a channel's streams over HTTP. */
import type { FastifyInstance } from 'fastify'
import { Inbox, type Ends } from '../../conformance/clients.ts'
import type { WireEvent } from '../../../lib/conformance/index.ts'
import { openFrames } from '../../helpers/posts.ts'
import { wireConformance } from '../../helpers/suites.ts'

wireConformance('channel over HTTP', async (t: Ends, app: FastifyInstance) => {
  const inbox = new Inbox<WireEvent>()
  const frames = await openFrames(t, app, '/channel', {}, {}, ({ op, event, data, encoding, ...rest }) => inbox.push(op === undefined
    ? { event: String(event), data: encoding === 'base64' ? Buffer.from(String(data), 'base64') : data }
    : { event: `realtime:${String(op)}`, data: { data, ...rest } }))
  frames.stream.ended.then(() => inbox.end('the stream ended'), () => {})
  return {
    next: (event) => inbox.take((one) => event === undefined ? !one.event.startsWith('realtime:') : one.event === event, event),
    nextBytes: async (event) => (await inbox.take((one) => one.event === event)).data as Buffer,
    heard: () => inbox.all,
    pause: () => frames.stream.pause(),
    resume: () => frames.stream.resume(),
    leave: () => frames.stream.leave(),
    ended: frames.stream.ended
  }
})
