// A node of the storm, in a process of its own. Its parent says how many words a model may say, and whom it sends away.
import { EventEmitter, once } from 'node:events'
import { startNode } from './chat.mjs'
import { wordsOf } from './storm-words.mjs'

const [redisSocket, script] = process.argv.slice(2)
const model = new EventEmitter()
model.setMaxListeners(0)
model.may = 0

async function * answer (signal, chat) {
  process.send({ runs: chat })
  for (const [n, word] of wordsOf(chat).entries()) {
    while (n >= model.may && !signal.aborted) await once(model, 'more', { signal }).catch(() => {})
    if (signal.aborted) return
    yield word
  }
}

process.on('message', ({ may, sendAway }) => {
  if (may !== undefined) {
    model.may = may
    model.emit('more')
  }
  if (sendAway) for (const connection of app.realtime.connections()) connection.close({ reconnect: true })
})
process.on('disconnect', () => process.exit())

const app = await startNode({ answer, redisSocket, script })
process.send({ port: app.server.address().port })
