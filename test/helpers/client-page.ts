/** A page with the client, without a bundler and under a strict CSP, and the server that it talks to. */
import { readFileSync } from 'node:fs'
import type { Test } from 'tap'
import type { RealtimeOptions } from '../../lib/index.ts'
import { live } from './app.ts'
import { root } from './docs.ts'

const PAGE = '<!doctype html><title>client</title><link rel="icon" href="data:,"><script type="module" src="/page.js"></script>'
const CSP = "default-src 'none'; script-src 'self'; connect-src 'self'; img-src data:"
const SCRIPT = `
import { WIRE as wire, connect } from '/client/index.js'
const hiddenTimeout = Number(new URLSearchParams(location.search).get('hiddenTimeout') ?? 200)
const rt = connect('/realtime', { wire, firstDelay: 50, hiddenTimeout })
globalThis.freezes = 0
document.addEventListener('freeze', () => globalThis.freezes++)
const room = rt.topic('rooms/:room', { room: '1' })
const heard = []
const states = []
rt.state.subscribe(() => states.push(rt.state.get().is))
Object.assign(globalThis, { rt, room, heard, states, hear: () => room.on('n', ({ data }) => heard.push(data)) })
globalThis.leave = globalThis.hear()
`

/** `wire`: of the client in the page. */
export async function servePage (t: Test, options: RealtimeOptions = {}, wire: 'websocket' | 'auto' = 'websocket') {
  const app = await live(t, { retry: 20, ...options })
  const room = app.topic('rooms/:room', { authorize: () => true })
  let dials = 0
  app.channel('/realtime', {
    http: true,
    subscribe: room,
    messages: { say: { handler: (text) => ({ said: String(text).length }) } },
    onConnect: () => { dials++ }
  })
  app.get('/', (_request, reply) => { reply.header('content-security-policy', CSP).type('text/html').send(PAGE) })
  app.get('/page.js', (_request, reply) => { reply.type('text/javascript').send(SCRIPT.replace('WIRE', wire)) })
  app.get<{ Params: { file: string } }>('/client/:file', ({ params }, reply) => {
    reply.type('text/javascript').send(readFileSync(`${root}dist/client/${params.file}`, 'utf8'))
  })
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  let n = 0
  return {
    app,
    url,
    async publish (count: number) { for (let i = 0; i < count; i++) await room.publish({ room: '1' }, 'n', n++) },
    /** What a page has heard by now. */
    published: () => Array.from({ length: n }, (_, i) => i),
    connections: () => app.realtime.connections().length,
    dials: () => dials
  }
}
