/** The command, as a program of its own against real servers: the built package (npm run build). */
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import { live } from '../helpers/app.ts'
import { start } from '../helpers/command.ts'

t.setTimeout(120_000)
t.jobs = 3

async function shop (t: Test, port = 0): Promise<{ app: FastifyInstance, url: string, port: number }> {
  const app = await live(t, { retry: 10 })
  const news = app.topic('news', { authorize: (request) => (request as { headers: Record<string, string> }).headers['x-not'] === undefined })
  const rooms = app.topic('rooms/:id', { authorize: () => true })
  app.stream('/news', { topics: news, preHandler: async (request, reply) => { if (request.headers.authorization === 'Bearer wrong') await reply.code(401).send() } })
  app.stream('/both', { topics: ['news', rooms.at({ id: '1' })] })
  app.channel('/ws', { topics: news, subscribe: rooms })
  app.get('/page', () => 'text')
  app.get('/moved', async (_request, reply) => await reply.redirect('/news'))
  app.get('/over', async (_request, reply) => await reply.code(204).send())
  app.get('/broken', async (_request, reply) => await reply.code(500).send())
  await app.listen({ port, host: '127.0.0.1' })
  const { port: own } = app.server.address() as AddressInfo
  return { app, url: `http://127.0.0.1:${own}`, port: own }
}

const listeners = (app: FastifyInstance, count: number, topic = 'news'): Promise<void> => new Promise((resolve) => {
  const look = (): void => { if (app.realtime.countLocal(topic) === count) resolve(); else setImmediate(look) }
  look()
})

t.test('what is called wrongly is told with its remedy, and ends with 2', async (t) => {
  const cases: Array<[string[], RegExp]> = [
    [[], /say "listen" or "bench"/],
    [['hear', 'http://localhost'], /no "hear"/],
    [['listen'], /needs a URL/],
    [['listen', 'shop.example:3000/news'], /"shop\.example:3000\/news" needs http:\/\/ or https:\/\/ before it/],
    [['listen', 'news'], /needs http/],
    [['listen', '/news'], /needs http/],
    [['listen', 'localhost:x@shop.example/'], /needs http/],
    [['listen', 'localhost:99999/'], /is no valid URL/],
    [['listen', 'ftp://localhost/news'], /ftp:\/\/ is not spoken here: http:\/\/ and https:\/\/ are/],
    [['listen', 'http://'], /is no valid URL/],
    [['bench', 'localhost.shop.example:3000/'], /needs http/],
    [['listen', 'http://localhost', 'more'], /one word too many/],
    [['listen', 'http://localhost', '--topc', 'news'], /^unknown option --topc; did you mean --topic\? fastify/],
    [['listen', 'http://localhost', '--jsn'], /^unknown option --jsn; did you mean --json\? /],
    [['listen', 'http://localhost', '--lastEventId=1'], /^unknown option --lastEventId; did you mean --last-event-id\? /],
    [['listen', 'http://localhost', '--nothing-like-it'], /^unknown option --nothing-like-it\. /],
    [['listen', 'http://localhost', '-t', 'news'], /^unknown option -t\. /],
    [['listen', 'http://localhost', '--__proto__'], /^unknown option --__proto__/],
    [['listen', 'http://localhost', '--count'], /--count/],
    [['listen', 'http://localhost', '--clients', '5'], /--clients is not for "listen"/],
    [['bench', 'http://localhost', '--count', '5'], /--count is not for "bench"/],
    [['listen', 'http://localhost', '--count', '0'], /whole number from 1/],
    [['bench', 'http://localhost', '--clients', '1e9'], /whole number from 1 to 20000/],
    [['listen', 'http://localhost', '--header', 'nothing'], /"name: value"/],
    [['listen', 'http://localhost', '--header', 'x: a\r\nb: c'], /"name: value"/],
    [['listen', 'http://localhost', '--token', 'a', '--header', 'Authorization: b'], /two things/],
    [['listen', 'http://localhost', '--topic', 'news'], /--topic is for channels/],
    [['listen', 'ws://localhost', '--last-event-id', '1'], /needs one --topic/],
    [['bench', 'http://shop.example/'], /another machine.*--anywhere/],
    [['bench', 'http://127.0.0.1.shop.example/'], /another machine/],
    [['bench', 'http://[2001:db8::1]/'], /another machine/]
  ]
  await Promise.all(cases.map(async ([args, why]) => {
    const { ended, lines, said } = start(t, ...args)
    t.equal(await ended, 2, args.join(' '))
    t.match(said.join('\n'), why)
    t.match(said.join('\n'), /--help says more/)
    t.same(lines, [])
  }))
  const help = start(t, '--help')
  t.equal(await help.ended, 0)
  t.match(help.lines.join('\n'), /listen <url>[^]*bench <url>/)
  t.equal(await start(t, '--version').ended, 0)
})

t.test('a stream: each event a line, until so many have come, and nothing else on stdout', async (t) => {
  const { app, url } = await shop(t)
  const json = start(t, 'listen', `${url}/news`, '--json', '--count', '2')
  const plain = start(t, 'listen', `${url}/news`, '--count', '2')
  await listeners(app, 2)
  const hostile = { text: '\u001b]0;title\u0007\u001b[2J\u009b1m\u202egnp.exe\u2028' }
  const ids = [await app.realtime.publish('news', 'said', hostile), await app.realtime.publish('news', 'said', 'text')].map(({ id }) => id)
  t.same([await json.ended, await plain.ended], [0, 0])
  t.same(json.lines.map((line) => JSON.parse(line) as object), [{ event: 'said', id: ids[0], data: hostile }, { event: 'said', id: ids[1], data: 'text' }])
  t.equal(plain.lines[1], `said ${ids[1] as string} "text"`)
  // eslint-disable-next-line no-control-regex -- they must not be there
  for (const line of [...json.lines, ...plain.lines]) t.notMatch(line, /[\u0000-\u001f\u007f-\u009f\u2028\u202e]/)
  t.match(json.said, [/^connected to 127/, /^2 events in .* connected again 0 times$/])
})

t.test('a channel: its own topic and one that is joined; a topic that is refused ends it with 1', async (t) => {
  const { app, url } = await shop(t)
  const client = start(t, 'listen', `${url.replace('http', 'ws')}/ws`, '--topic', 'rooms/7', '--json', '--count', '2')
  await Promise.all([listeners(app, 1), listeners(app, 1, 'rooms/7')])
  await app.realtime.publish('rooms/7', 'said', 1)
  await client.until('the first event', () => client.lines.length > 0)
  await app.realtime.publish('news', 'said', 2)
  t.equal(await client.ended, 0)
  t.match(client.lines.map((line) => JSON.parse(line) as object), [{ event: 'said', topic: 'rooms/7', data: 1 }, { event: 'said', topic: 'news', data: 2 }])
  const refused = start(t, 'listen', `${url}/ws`, '--ws', '--topic', 'nowhere')
  t.equal(await refused.ended, 1)
  t.match(refused.said.join('\n'), /refused: UNKNOWN_TOPIC/)
})

t.test('from an id on: what followed it comes first', async (t) => {
  const { app, url } = await shop(t)
  const { id } = await app.realtime.publish('news', 'said', 1)
  await app.realtime.publish('news', 'said', 2)
  for (const args of [['/news'], ['/ws', '--ws', '--topic', 'news']]) {
    const [path, ...more] = args
    const client = start(t, 'listen', url + String(path), ...more, '--last-event-id', String(id), '--count', '1', '--json')
    t.equal(await client.ended, 0)
    t.match(JSON.parse(client.lines[0] as string), { data: 2 })
  }
})

t.test('what is refused, or is no stream, ends with 1 and says why; 204 ends with 0', async (t) => {
  const { url } = await shop(t)
  const cases: Array<[string[], RegExp, number]> = [
    [[`${url}/news`, '--token', 'wrong'], /answers 401/, 1],
    [[`${url}/news`, '--header', 'x-not: me'], /answers 403/, 1],
    [[`${url}/nothing`], /answers 404/, 1],
    [[`${url}/broken`], /answers 500/, 1],
    [[`${url}/page`], /no event stream, but text\/plain/, 1],
    [[`${url}/moved`], /elsewhere: \/news/, 1],
    [[`${url}/page`, '--ws'], /answers 200/, 1],
    [['http://127.0.0.1:9/'], /ECONNREFUSED/, 1],
    [[`${url}/over`], /nothing more to say/, 0]
  ]
  await Promise.all(cases.map(async ([args, why, code]) => {
    const { ended, said, lines } = start(t, 'listen', ...args)
    t.equal(await ended, code, args.join(' '))
    t.match(said.join('\n'), why)
    t.same(lines, [])
  }))
})

for (const [wire, ...args] of [['/news'], ['/ws', '--ws']] as const) {
  t.test(`${wire}: cut, it comes back with what it missed; and a server that has forgotten it is told as a reset`, async (t) => {
    const { app, url, port } = await shop(t)
    const client = start(t, 'listen', url + wire, ...args, '--json')
    await listeners(app, 1)
    await app.realtime.publish('news', 'said', 1)
    await client.until('the first event', () => client.lines.length === 1)
    const [connection] = app.realtime.connections()
    await app.realtime.disconnect({ connection: connection?.id as string }, { code: 4000, reconnect: true })
    await app.realtime.publish('news', 'said', 2)
    await client.until('what it missed', () => client.lines.length === 2)
    await client.saying(/connected again: what was missed since/)
    await app.close()
    const second = await shop(t, port)
    await client.saying(/^reset: events of "news" were lost \(unknown-cursor\)$/)
    await second.app.realtime.publish('news', 'said', 3)
    await client.until('the third event', () => client.lines.some((line) => line.includes('"data":3')))
    const said = client.lines.map((line) => JSON.parse(line) as { event: string, data: unknown })
    t.same(said.filter(({ event }) => event === 'said').map(({ data }) => data), [1, 2, 3])
    client.child.kill('SIGINT')
    t.equal(await client.ended, 0)
    t.match(client.said.at(-1), /^\d+ events in .*; connected again [2-9]\d* times$/)
  })
}

t.test('Ctrl-C ends it while it waits for a server that is away, and while one does not answer', async (t) => {
  const { app, url } = await shop(t)
  const waiting = start(t, 'listen', `${url}/news`)
  await listeners(app, 1)
  await app.close()
  await waiting.saying(/again in/)
  waiting.child.kill('SIGINT')
  t.equal(await waiting.ended, 0)

  const mute = createServer(() => {})
  t.teardown(() => { mute.closeAllConnections(); mute.close() })
  mute.listen(0, '127.0.0.1')
  await once(mute, 'listening')
  const unanswered = start(t, 'listen', `http://127.0.0.1:${(mute.address() as AddressInfo).port}/`)
  await once(mute, 'request')
  unanswered.child.kill('SIGINT')
  t.equal(await unanswered.ended, 0)
  t.match(unanswered.said.join(), /0 events/)
})

t.test('whoever reads its output may go: it ends quietly', async (t) => {
  const { app, url } = await shop(t)
  const client = start(t, 'listen', `${url}/news`)
  await listeners(app, 1)
  await app.realtime.publish('news', 'said', 1)
  await client.until('the first event', () => client.lines.length === 1)
  client.child.stdout.destroy()
  const timer = setInterval(() => { app.realtime.publish('news', 'said', 'x'.repeat(1000)).catch(() => {}) }, 10)
  t.teardown(() => clearInterval(timer))
  t.equal(await client.ended, 0)
  t.notMatch(client.said.join('\n'), /EPIPE|Error/)
})

for (const [path, ...args] of [['/news'], ['/ws', '--ws']] as const) {
  t.test(`bench of ${path}: every client hears every event once, in order, and the result says how long after`, async (t) => {
    const { app, url } = await shop(t)
    const probe = start(t, 'bench', url + path, ...args, '--clients', '120', '--seconds', '600', '--json')
    await probe.saying(/^120 of 120 clients are connected$/)
    await listeners(app, 120)
    for (let n = 0; n < 50; n++) await app.realtime.publish('news', 'said', n)
    while (app.realtime.stats().delivered < 50 * 120 || app.realtime.connections().some(({ buffered }) => buffered > 0)) await new Promise(setImmediate)
    await app.realtime.publish('news', 'last', {})
    while (app.realtime.stats().delivered < 51 * 120) await new Promise(setImmediate)
    // What was written is read in order: a client that has left has read it.
    probe.child.kill('SIGINT')
    t.equal(await probe.ended, 0)
    const result = JSON.parse(probe.lines.join('')) as Record<string, number>
    t.match(result, { clients: 120, connected: 120, cut: 0, gaps: 0, duplicates: 0, disorder: 0, resets: 0 })
    t.ok((result.events as number) >= 49 * 120, `${result.events} events`)
    t.ok((result.p50 as number) >= 0 && (result.p99 as number) >= (result.p50 as number) && (result.p99 as number) < 60_000)
  })
}

t.test('bench finds gaps, duplicates and disorder, and ends with 1', async (t) => {
  const ids = Array.from({ length: 9 }, (_, n) => `1700000000000-${n}.x`)
  const scripts = [[0, 1, 2, 3, 4, 5, 6, 7, 8], [0, 1, 3, 4, 5, 6, 7, 8], [0, 1, 2, 2, 3, 4, 5, 6, 7, 8], [0, 2, 1, 3, 4, 5, 6, 7, 8]]
  let client = 0
  let done = 0
  const server = createServer((_request, response) => {
    const script = scripts[client++ % scripts.length] as number[]
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    const text = script.map((n) => `id: ${ids[n] as string}\nevent: said\ndata: ${n}\n\n`).join('')
    response.write(text, () => { done++ })
  })
  t.teardown(() => { server.closeAllConnections(); server.close() })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const probe = start(t, 'bench', `http://localhost:${(server.address() as AddressInfo).port}/`.replace('localhost', '127.0.0.1'), '--clients', '4', '--seconds', '1')
  t.equal(await probe.ended, 1)
  t.equal(done, 4)
  t.match(probe.lines.join('\n'), /order {7}1 gaps, 1 duplicates, 1 out of order, 0 resets/)
})

t.test('bench: nobody is let in, or events have no ids', async (t) => {
  const { url } = await shop(t)
  const refused = start(t, 'bench', `${url}/nothing`, '--clients', '3', '--json')
  t.equal(await refused.ended, 1)
  t.match(refused.said.join('\n'), /3 were not: the server answers 404/)
  t.match(JSON.parse(refused.lines.join('')), { connected: 0, events: 0 })
  const { app, url: other } = await shop(t)
  const cursors = start(t, 'bench', `${other}/both`, '--clients', '2', '--seconds', '600')
  await cursors.saying(/^2 of 2/)
  await listeners(app, 2)
  const telling = setInterval(() => { app.realtime.publish('news', 'said', 1).catch(() => {}) }, 10)
  t.teardown(() => clearInterval(telling))
  while (app.realtime.stats().delivered < 20) await new Promise(setImmediate)
  cursors.child.kill('SIGINT')
  t.equal(await cursors.ended, 0)
  t.match(cursors.lines.join('\n'), /not checked[^]*/)
})

t.test('bench that hears nothing says that nobody has published, and ends with 1', async (t) => {
  const { url } = await shop(t)
  for (const [path, ...args] of [['/news'], ['/ws', '--ws', '--json']] as const) {
    const quiet = start(t, 'bench', url + path, ...args, '--clients', '2', '--seconds', '1')
    t.equal(await quiet.ended, 1)
    t.match(quiet.said.at(-1), /^no event was heard in 1\.\d s, so nothing was measured: bench publishes nothing itself/)
    t.match(quiet.lines.join('\n'), /^events {6}0,|"events":0,/m)
  }
})

t.test('this machine may be named without http://', async (t) => {
  const { app, port } = await shop(t)
  const client = start(t, 'listen', `127.0.0.1:${port}/news`, '--count', '1')
  const channel = start(t, 'listen', `127.0.0.1:${port}/ws`, '--ws', '--count', '1')
  await listeners(app, 2)
  await app.realtime.publish('news', 'said', 1)
  t.same([await client.ended, await channel.ended], [0, 0])
  t.match(client.said, [new RegExp(`^connected to 127\\.0\\.0\\.1:${port}$`)])
  // Nobody listens on port 9: that it was dialled is enough.
  for (const url of ['localhost:9/news', 'LOCALHOST:9', '[::1]:9/?a=b', '127.0.0.1:9']) {
    const refused = start(t, 'listen', url)
    t.equal(await refused.ended, 1, url)
    t.match(refused.said.join('\n'), /ECONNREFUSED|EADDRNOTAVAIL/)
  }
})
