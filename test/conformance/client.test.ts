/** The library's own client keeps the contract of clients; and whoever breaks it is found. */
import t from 'tap'
import { WebSocket } from 'ws'
import { childClient, clientSuite, type ClientSuiteOptions, type DriveClient } from '../../lib/conformance/index.ts'
import { drive } from '../helpers/driven-client.ts'

// Each has a server of its own; most of the time they wait.
t.jobs = 8
for (const { name, run } of clientSuite({ connect: drive })) {
  t.test(name, { buffered: true }, async (t) => {
    await run()
    t.pass('the contract is kept')
  })
}

// --- those who break it -----------------------------------------------------------------------

/** Tells whatever comes, and comes back as long as anybody is there. */
const careless: DriveClient = ({ url, topics }, tell) => {
  let socket: WebSocket
  let closed = false
  const dial = (): void => {
    socket = new WebSocket(url.replace('http', 'ws'), ['fastify-realtime.v1'])
    socket.on('error', () => {})
    socket.on('open', () => socket.send('{"op":"open"}'))
    socket.on('close', () => { if (!closed) setImmediate(dial) })
    socket.on('message', (data: Buffer) => {
      const { op, event, id, data: what } = JSON.parse(data.toString())
      if (op === 'open') for (const topic of topics) socket.send(JSON.stringify({ op: 'subscribe', topic }))
      if (op === undefined) tell({ saw: 'event', event, id, data: what })
    })
  }
  dial()
  return {
    close () {
      closed = true
      socket.terminate()
    }
  }
}

/** What it was answered, it is told otherwise. */
const deaf = (status: number): DriveClient => (order, tell) => {
  const { fetch } = globalThis
  const listening = async (): Promise<void> => {
    const response = await fetch(order.url)
    if (response.status === status) await listening()
    else tell({ saw: 'over' })
  }
  listening().catch(() => {})
  return { close () {} }
}

/** Hears everything and lets go of nothing. */
const clinging: DriveClient = async (order, tell) => {
  const client = await drive(order, tell)
  return { close: () => { setTimeout(() => client.close(), 1000) } }
}

const nodeRuns = (code: string): DriveClient => childClient(process.execPath, ['-e', code])

async function outcome (name: string, connect: DriveClient, more: Partial<ClientSuiteOptions> = {}): Promise<string> {
  const found = clientSuite({ connect, ...more }).find((trial) => trial.name === name)
  if (!found) throw new Error(`there is no ${name}`)
  return await found.run().then(() => 'passed', ({ message }: Error) => message)
}

const mute = nodeRuns('process.stdin.resume()')
/** Those of whom nothing comes. */
const waits = new Set([mute, clinging])

const breaches: Array<[what: string, trial: string, connect: DriveClient, told: RegExp]> = [
  ['a gap that is believed', 'websocket: what is missing is asked for again, from the last that linked', careless, /it told .*"id":"4".* where .*"id":"3"/],
  ['an event that is told twice', 'websocket: an event that comes twice is told once', careless, /it told .*"id":"1".* where .*"id":"2"/],
  ['who comes back for ever where it is not let in', 'websocket: who is refused stays away', careless, /it has dialled 2 times, where 1 were to be/],
  ['who does not tell a loss', 'websocket: a loss that the server tells is told, and goes on from its id', careless, /"id":"6".* where .*reset/],
  ['who goes round in circles behind a 204', 'sse: who is told that there is nothing more stays away: 204', deaf(204), /it has dialled 2 times/],
  ['who tries a 401 for ever', 'sse: who is refused a stream stays away: 401', deaf(401), /it has dialled 2 times/],
  ['who keeps its connection', 'websocket: events are told in order', clinging, /it did not come to an end/],
  ['who says nothing', 'websocket: events are told in order', mute, /nothing more came; missing: .*"id":"1"/],
  ['a process that ends', 'websocket: events are told in order', nodeRuns(''), /the process of the client has ended/],
  ['a process that prints something else', 'websocket: events are told in order', nodeRuns('console.log("hello"); process.stdin.resume()'), /not JSON: hello/]
]
t.test('a process that ends in an error has not passed, whatever it told', async (t) => {
  const failing = nodeRuns(`process.stdin
    .once('data', (line) => fetch(JSON.parse(line).url).then(() => console.log('{"saw":"over"}')))
    .once('end', () => process.exit(3))`)
  t.match(await outcome('sse: who is told that there is nothing more stays away: 204', failing), /has ended with 3/)
})

t.test('who breaks it is told where', async (t) => {
  for (const [what, trial, connect, told] of breaches) t.match(await outcome(trial, connect, waits.has(connect) ? { timeout: 500 } : {}), told, what)
})

t.test('what the suite does not know is an error', async (t) => {
  const wrong: Array<[object, RegExp]> = [
    [{ connect: drive, wire: ['sse'] }, /unknown option "wire"/],
    [{ connect: drive, wires: ['ws'] }, /wires knows no "ws"; known: websocket,http,sse/],
    [{ connect: drive, without: ['token'] }, /without knows no "token"/],
    [{}, /connect must be a function/]
  ]
  for (const [options, message] of wrong) t.throws(() => clientSuite(options as ClientSuiteOptions), { name: 'TypeError', message })
  await t.rejects(outcome('websocket: events are told in order', childClient('/nothing/here')).then((told) => { throw new Error(told) }), { message: /ENOENT/ })
})

t.test('trials that need what a client cannot do are left out', async (t) => {
  const names = (options: Partial<ClientSuiteOptions>) => clientSuite({ connect: drive, ...options }).map(({ name }) => name)
  const all = names({})
  const some = names({ without: ['messages', 'tokens', 'refresh', 'bytes'] })
  t.ok(some.length < all.length && some.length > 50)
  t.notOk(some.some((name) => /token|message|bytes are/.test(name)))
  t.ok(names({ wires: ['sse'] }).every((name) => name.startsWith('sse: ')))
})
