// What the recipes' tests share. test-full.mjs has put the guides' snippets beside a node_modules that is this one.
import { channel } from 'node:diagnostics_channel'

const CHANGES = ['connect', 'disconnect', 'subscribe', 'unsubscribe'].map((name) => channel(`fastify-realtime:${name}`))

/** Resolves when a change of who is connected makes it true. */
export async function until (condition) {
  if (condition()) return
  await new Promise((resolve) => {
    const look = () => setImmediate(() => {
      if (!condition()) return
      for (const change of CHANGES) change.unsubscribe(look)
      resolve()
    })
    for (const change of CHANGES) change.subscribe(look)
  })
}

/** Resolves when no consumer is left, nor anything that was made for one. */
export function nothingLeft (app) {
  return until(() => {
    const { connections, arriving, closing, topics } = app.realtime.stats()
    return connections.process + arriving + closing + topics === 0
  })
}

export function heard (app) {
  return until(() => app.realtime.stats().connections.process > 0)
}

/** Destroys every socket that the server has, and those only. */
export function cutter (app) {
  const sockets = new Set()
  app.server.on('connection', (socket) => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
  })
  return () => { for (const socket of sockets) socket.destroy() }
}

/** What came, in order, for a test that waits for so many. */
export function collector () {
  const all = []
  let changed = () => {}
  return {
    add (value) {
      all.push(value)
      changed()
    },
    async take (count) {
      while (all.length < count) await new Promise((resolve) => { changed = resolve })
      return all.splice(0, count)
    },
    get waiting () { return all.length }
  }
}
