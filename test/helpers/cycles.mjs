// cycles.mjs <url>: opens and closes the client 10,000 times, and says what is left of it behind 2,000 and behind all. It is
// started with --expose-gc, as a process of its own: nothing else is in its heap.
import { WebSocket } from 'ws'
import { connect } from '../../dist/client/index.js'

const url = process.argv[2]
const AT_ONCE = 20
const sockets = { closed: 0 }

/** Tells when its socket is gone. */
class Counted extends WebSocket {
  constructor (...args) {
    super(...args)
    this.once('close', () => sockets.closed++)
  }
}

function cycle () {
  return new Promise((resolve) => {
    const client = connect(url, { WebSocket: Counted })
    const room = client.topic('rooms/:room', { room: '1' })
    client.state.subscribe(() => {
      const { is } = client.state.get()
      if (is === 'closed') resolve()
      if (is !== 'open') return
      // An answer that is waited for, and a store that is held, when it ends.
      room.send('say', 'hello').catch(() => {})
      room.members.subscribe(() => {})
      setImmediate(() => client.close())
    })
    room.on('n', () => {})
  })
}

async function cycles (count) {
  const wanted = sockets.closed + count
  let left = count
  await Promise.all(Array.from({ length: AT_ONCE }, async () => { while (left-- > 0) await cycle() }))
  while (sockets.closed < wanted) await new Promise((resolve) => setTimeout(resolve, 10))
}

/** Without what can be freed, and when what was closed has been let go. */
async function heap () {
  for (let i = 0; i < 4; i++) {
    globalThis.gc()
    await new Promise((resolve) => setImmediate(resolve))
  }
  return process.memoryUsage().heapUsed
}

/** What keeps it alive, the pipes of its output apart. */
const resources = () => process.getActiveResourcesInfo().filter((name) => !/^(Pipe|TTY|File)/.test(name))
const listeners = () => process.eventNames().reduce((sum, name) => sum + process.listenerCount(name), 0)

await cycles(1)
const before = listeners()
await cycles(1999)
const early = await heap()
await cycles(8000)
const late = await heap()
console.log(JSON.stringify({ early, late, resources: resources(), listeners: listeners() - before }))
