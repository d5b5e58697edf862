// What clients that do not read cost those that do: the others' delivery latency with 1 % of the clients stalled, against
// what it is without them.
//
// Method: two topics on one server, each with 1,000 clients in a process of their own, half SSE and half WebSocket. On one
// of them 1 % of the clients have stopped reading, and more was sent to each of these than the kernel takes, so that
// the server has to keep everything that follows for them. One event at a time is published, and the next when
// every reader has it. Latency is from before `publish` to the client's `data` event, by the system's monotonic
// clock. Events go to both topics in turn, in random order; a round is some of them, and its figure is the p99 over all
// events and readers. Medians over all rounds, and the ratio of the medians, for each `slow` policy. To show what the
// difference of two equal topics is, the first line has nobody stalled on either.
//
//   npm run build && node bench/stalled.mjs [rounds]
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { connect } from 'node:net'
import { cpus } from 'node:os'
import { fileURLToPath } from 'node:url'

const CLIENTS = 1000
const STALLED = CLIENTS / 100
const EVENTS = 20
const FILL = 'x'.repeat(200)
const PIECE = 'x'.repeat(20_000)
/** Far more than the kernel takes for one connection. */
const MAX_PIECES = 5000
const DIALLING = 100

const now = () => Number(process.hrtime.bigint() / 1000n)
const median = (list) => list.sort((x, y) => x - y)[list.length >> 1]

if (process.send) readers()
else await measure(Number(process.argv[2] ?? 60))

// --- the clients' process ------------------------------------------------------

function readers () {
  const groups = new Map()
  const commands = {
    async open ({ name, port, count, stalled }) {
      const group = { wanted: -1, waiting: 0, left: count - stalled, latencies: [] }
      groups.set(name, group)
      // Some at a time: the kernel's queue for new connections is short.
      for (let i = 0; i < count; i += DIALLING) {
        await Promise.all(Array.from({ length: Math.min(DIALLING, count - i) }, (_, k) => dial(group, name, port, (i + k) % 2 === 0 ? 'sse' : 'websocket', i + k < stalled)))
      }
      process.send({ opened: count })
    },
    latencies: ({ name }) => process.send({ latencies: groups.get(name).latencies.splice(0) })
  }
  process.on('message', (message) => commands[message.do](message))
  process.on('disconnect', () => process.exit())
}

const UPGRADE = 'connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n'

/** Resolves when it is open. */
function dial (group, name, port, kind, stalled) {
  const socket = connect(port, '127.0.0.1', () => {
    socket.write(`GET /${name}/${kind}${stalled ? '?stalled' : ''} HTTP/1.1\r\nhost: localhost\r\n${kind === 'sse' ? 'accept: text/event-stream\r\n' : UPGRADE}\r\n`)
  })
  let text = ''
  let opened
  const open = new Promise((resolve) => { opened = resolve })
  socket.on('close', () => process.exit(1))
  socket.setEncoding('latin1').on('data', (part) => {
    const at = now()
    text += part
    if (opened && text.includes(kind === 'sse' ? 'realtime:open' : '101 Switching')) {
      if (stalled) socket.pause()
      opened()
      opened = undefined
    }
    let end = 0
    for (const match of text.matchAll(/"n":(\d+),"sent":(\d+)[,}]/g)) {
      const [all, n, sent] = match
      end = match.index + all.length
      group.latencies.push(at - Number(sent))
      if (Number(n) !== group.wanted) {
        group.wanted = Number(n)
        group.waiting = group.left
      }
      if (--group.waiting === 0) process.send({ done: group.wanted })
    }
    text = text.slice(end)
  })
  return open
}

// --- the server's process ------------------------------------------------------

async function measure (rounds) {
  const { default: Fastify } = await import('fastify')
  const { default: realtime } = await import('fastify-realtime')
  const app = Fastify()
  // No pings: these clients answer none, and would be cut.
  await app.register(realtime, { heartbeat: 300_000 })
  const ways = [
    ['nobody stalled', 'close', 0], ["slow: 'close'", 'close', STALLED], ["slow: 'latest'", 'latest', STALLED], ["slow: 'reset'", 'reset', STALLED]
  ]
  const slow = new Map()
  const topics = new Map()
  for (const [index, [, policy]] of ways.entries()) {
    for (const name of [`calm-${index}`, `mixed-${index}`]) {
      const topic = app.topic(name)
      topics.set(name, topic)
      const options = {
        topics: topic,
        slow: policy,
        onConnect: (connection, request) => { if ('stalled' in request.query) slow.set(connection, request.raw.socket) }
      }
      app.stream(`/${name}/sse`, options)
      app.channel(`/${name}/websocket`, options)
    }
  }
  await app.listen({ port: 0, host: '127.0.0.1' })
  const { port } = app.server.address()

  console.log(`node ${process.version}, ${cpus()[0].model} × ${cpus().length}, ${CLIENTS} clients a topic, ${rounds} rounds of ${EVENTS} events, delivery latency`)
  for (const [index, [label, , stalled]] of ways.entries()) {
    const child = fork(fileURLToPath(import.meta.url), { execArgv: [] })
    const ended = once(child, 'exit').then(([code]) => { if (code !== 0) throw new Error(`void: the clients' process ended with ${code}`) })
    const told = async () => await Promise.race([once(child, 'message').then(([answer]) => answer), ended])
    const ask = async (message) => {
      child.send(message)
      return await told()
    }
    const names = [`calm-${index}`, `mixed-${index}`]
    for (const name of names) await ask({ do: 'open', name, port, count: CLIENTS, stalled: name.startsWith('mixed') ? stalled : 0 })
    // A channel's client has its 101 before it is in the topic.
    while (app.realtime.stats().subscriptions < 2 * CLIENTS) await new Promise(setImmediate)
    await clog(slow)

    const figures = { calm: { p50: [], p99: [] }, mixed: { p50: [], p99: [] } }
    let n = 0
    for (let round = 0; round < rounds; round++) {
      for (let i = 0; i < EVENTS; i++) {
        for (const name of names.sort(() => Math.random() - 0.5)) {
          const everywhere = told()
          await topics.get(name).publish({}, 'tick', { n: n++, sent: now(), fill: FILL })
          await everywhere
        }
      }
      for (const name of names) {
        const { latencies } = await ask({ do: 'latencies', name })
        latencies.sort((x, y) => x - y)
        const { p50, p99 } = figures[name.split('-')[0]]
        p50.push(latencies[latencies.length >> 1])
        p99.push(latencies[Math.floor(latencies.length * 0.99)])
      }
    }
    const stillStalled = [...slow].filter(([connection, socket]) => !connection.closed && socket.writableLength > 0).length
    if (stillStalled !== stalled) throw new Error(`void: ${stillStalled} of ${stalled} clients are stalled at the end`)
    const [calm, mixed] = [figures.calm, figures.mixed].map(({ p50, p99 }) => ({ p50: median(p50), p99: median(p99) }))
    const ms = (us) => (us / 1000).toFixed(2)
    console.log(`${label.padEnd(16)} p50 ${ms(calm.p50)} → ${ms(mixed.p50)} ms (× ${(mixed.p50 / calm.p50).toFixed(3)})   p99 ${ms(calm.p99)} → ${ms(mixed.p99)} ms (× ${(mixed.p99 / calm.p99).toFixed(3)})`)
    child.disconnect()
    await ended
    while (app.realtime.stats().connections.sse + app.realtime.stats().connections.websocket > 0) await new Promise(setImmediate)
    slow.clear()
  }
  await app.close()
}

/** Sends to those who do not read until the kernel takes no more. */
async function clog (slow) {
  for (const [connection, socket] of slow) {
    for (let i = 0; i < MAX_PIECES && socket.writableLength === 0; i++) {
      connection.send('fill', { fill: PIECE })
      await new Promise(setImmediate)
    }
    if (socket.writableLength === 0) throw new Error('void: the kernel takes it all')
  }
}
