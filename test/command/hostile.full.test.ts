/** Servers that say odd things to the command: the built package (npm run build). */
import { getEventListeners, once } from 'node:events'
import { createServer, type IncomingMessage, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { WebSocketServer, type WebSocket } from 'ws'
import { dial, placeOf, Refused } from '../../lib/command/dial.ts'
import { harmlessJson, word } from '../../lib/command/output.ts'
import { Pauses } from '../../lib/command/pauses.ts'
import { start } from '../helpers/command.ts'

t.setTimeout(120_000)

async function streams (t: Test, answer: RequestListener): Promise<string> {
  const server = createServer(answer)
  t.teardown(() => { server.closeAllConnections(); server.close() })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
}

async function channels (t: Test, joined: (socket: WebSocket) => void): Promise<string> {
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1', handleProtocols: () => 'fastify-realtime.v1' })
  server.on('connection', (socket) => socket.once('message', () => joined(socket)))
  t.teardown(() => {
    for (const socket of server.clients) socket.terminate()
    server.close()
  })
  await once(server, 'listening')
  return `ws://127.0.0.1:${(server.address() as AddressInfo).port}/`
}

const deep = JSON.parse('['.repeat(100_000) + ']'.repeat(100_000)) as unknown

t.test('any value has a word, and none of them throws', async (t) => {
  const cases: Array<[unknown, string]> = [
    ['text', 'text'], ['', ''], [undefined, ''], [null, 'null'], [5, '5'], [false, 'false'], [['a'], '["a"]'],
    [{ toString: 1, valueOf: 1 }, '{"toString":1,"valueOf":1}'], [deep, '"(nested too deeply)"']
  ]
  for (const [value, expected] of cases) t.equal(word(value), expected)
  t.equal(harmlessJson(deep), '"(nested too deeply)"')
})

t.test('frames whose words are objects are told like others, by listen and by bench', async (t) => {
  const odd = { toString: 1, valueOf: 1 }
  const said = '{"toString":1,"valueOf":1}'
  const frames = [
    { event: odd, data: 1 }, { op: odd }, { event: 'a', topic: odd, id: odd, prev: odd, data: 2 }, { op: 'snapshot', topic: odd, id: odd, data: 3 },
    { op: 'reset', topic: odd, reason: odd }, { op: 'subscribed', topic: odd, ref: odd, recovered: odd }, { op: 'error', ref: odd, code: odd, message: odd },
    { op: 'bye', reconnect: odd, retry: odd, reason: odd }, null, [1], 7, {}
  ].map((frame) => JSON.stringify(frame))
  const url = await channels(t, (socket) => {
    for (const frame of [...frames, `{"event":"deep","data":${'['.repeat(100_000)}${']'.repeat(100_000)}}`]) socket.send(frame)
    socket.send(Buffer.alloc(4, 255), { binary: true })
    socket.close(1000)
  })
  const client = start(t, 'listen', url, '--topic', 'news')
  t.equal(await client.ended, 0)
  t.match(client.lines[0], `${said} 1`)
  t.ok(client.lines.includes('deep "(nested too deeply)"'))
  t.ok(client.said.includes(`reset: events of "${said}" were lost (${said})`), client.said.join('\n'))
  t.ok(client.said.includes(`refused: ${said}: ${said}`), client.said.join('\n'))
  const probe = start(t, 'bench', url, '--clients', '1', '--seconds', '1', '--json')
  t.equal(await probe.ended, 1)
  t.match(JSON.parse(probe.lines.join('')), { connected: 1, resets: 1 })
})

t.test('thirty connections leave nothing on the signal that would cut them', async (t) => {
  const { signal } = new AbortController()
  const channel = await channels(t, (socket) => socket.close(1012))
  const stream = await streams(t, (_request, response) => { response.writeHead(200, { 'content-type': 'text/event-stream' }).end('data: 1\n\n') })
  for (const url of [channel, stream]) {
    const target = { url: new URL(url.replace('ws:', 'http:')), ws: url === channel, topics: [], headers: {}, lastEventId: undefined }
    for (let n = 0; n < 30; n++) {
      const { ended } = await dial(target, placeOf(target), () => {}, signal)
      await ended
    }
    while (getEventListeners(signal, 'abort').length > 0) await new Promise(setImmediate)
    t.pass(url)
  }
})

t.test('a signal that cuts a channel closes it', async (t) => {
  const cut = new AbortController()
  const url = await channels(t, () => cut.abort())
  const target = { url: new URL(url.replace('ws:', 'http:')), ws: true, topics: [], headers: {}, lastEventId: undefined }
  const { ended } = await dial(target, placeOf(target), () => {}, cut.signal)
  t.match(await ended, { back: undefined, failed: false })
})

t.test('the pause is what the server says, but never less than 100 ms, and more and more while connections are brief', async (t) => {
  const brief = new Pauses()
  t.same(Array.from({ length: 11 }, () => brief.ended(999, 0)), [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000])
  t.same([brief.ended(0, 60_000), brief.ended(1000, 0), brief.ended(1000, 5), brief.ended(1000, 700), brief.ended(1, 0), brief.ended(1, 150)], [60_000, 100, 100, 700, 100, 200])
  const away = new Pauses()
  t.same([away.failed(), away.failed(), away.ended(2000, 10), away.failed(), ...Array.from({ length: 6 }, () => away.failed())].slice(0, 10), [1000, 2000, 100, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000])
})

for (const ws of [false, true]) {
  t.test(`a server that says "come back at once" and ends each ${ws ? 'channel' : 'stream'} is not asked in a loop`, async (t) => {
    let asked = 0
    const url = ws
      ? await channels(t, (socket) => { asked++; socket.send('{"op":"bye","reconnect":true,"retry":0}'); socket.close(1012) })
      : await streams(t, (_request, response) => { asked++; response.writeHead(200, { 'content-type': 'text/event-stream' }).end('retry: 0\n\n') })
    const client = start(t, 'listen', url)
    const pauses = (): number[] => client.said.flatMap((line) => /^again in (\d+) ms$/.exec(line)?.[1] ?? []).map(Number)
    await client.until('three pauses', () => pauses().length >= 3)
    client.child.kill('SIGINT')
    t.equal(await client.ended, 0)
    t.equal(pauses()[0], 100)
    for (const pause of pauses()) t.ok(pause >= 100, String(pause))
    t.ok(asked <= pauses().length + 1, `${asked} connections, ${pauses().length} pauses`)
  })
}

t.test('an id that is not latin-1 is sent as browsers send it; one that no header can hold ends it', async (t) => {
  const came: Array<IncomingMessage['headers'][string]> = []
  const url = await streams(t, (request, response) => {
    came.push(request.headers['last-event-id'])
    response.writeHead(200, { 'content-type': 'text/event-stream' }).end(`id: ${came.length === 1 ? '€uro' : '\u0001'}\ndata: 1\n\n`)
  })
  const client = start(t, 'listen', url, '--last-event-id', 'é')
  t.equal(await client.ended, 1)
  t.same(came.map((id) => Buffer.from(String(id), 'latin1').toString()), ['é', '€uro'])
  t.match(client.said.join('\n'), /it cannot come back: the last id holds characters/)
  const target = { url: new URL(url), ws: false, topics: [], headers: {}, lastEventId: '\u0007' }
  t.ok(await dial(target, placeOf(target), () => {}, new AbortController().signal).catch((error: unknown) => error) instanceof Refused)
})
