// One node of the chaos suite: an app, its clients' routes, and a publisher that numbers its events for each topic.
// node.mjs <options as JSON>; told what to do, and telling what became of its events, over IPC.

import { pathToFileURL } from 'node:url'
import { join } from 'node:path'
import Fastify from 'fastify'

const { lib, name, options, topics, pace, waits } = JSON.parse(process.argv[2])
const { default: realtime } = await import(pathToFileURL(join(lib, 'index.js')).href)
const { redis } = await import(pathToFileURL(join(lib, 'adapters/redis/index.js')).href)

/** Publishes that may wait at a time. */
const MAX_WAITING = 400

const tell = (message) => { if (process.connected) process.send(message) }
for (const event of ['uncaughtException', 'unhandledRejection']) {
  process.on(event, (error) => {
    tell({ crash: String(error?.stack ?? error) })
  })
}

const log = (level) => (details, message) => {
  const text = typeof details === 'string' ? details : `${message}: ${details?.err?.message ?? ''}`
  if (/realtime/.test(text)) tell({ log: `${level} ${text}` })
}
const logger = { level: 'info', fatal: log('fatal'), error: log('error'), warn: log('warn'), info: log('info'), debug () {}, trace () {}, silent () {}, child: () => logger }

const app = Fastify({ loggerInstance: logger, forceCloseConnections: true })
await app.register(realtime, { adapter: redis(options), heartbeat: 400, retry: 0, closeTimeout: 500, joinTimeout: waits.join })
app.topic('log/:id', { history: { limit: 20_000, maxAge: 600_000, maxBytes: 32 << 20 } })
app.topic('short/:id', { history: { limit: 40, maxAge: 600_000 } })
const live = { topics: ({ query }) => query.topics.split(',') }
app.stream('/stream', live)
app.channel('/channel', live)
await app.listen({ port: 0, host: '127.0.0.1' })

const numbers = new Map()
let waiting = 0
let going = false
let report = { acks: [], lost: [] }

function flush () {
  if (report.acks.length + report.lost.length === 0) return
  tell(report)
  report = { acks: [], lost: [] }
}

/** Resolves false when it was rejected: whether it was published is not known then. */
async function publish (topic, marker) {
  const n = (numbers.get(topic) ?? 0) + 1
  numbers.set(topic, n)
  waiting++
  try {
    const { id } = await app.realtime.publish(topic, 'e', { t: topic, p: name, n, m: marker })
    report.acks.push([topic, n, id])
    return true
  } catch (error) {
    report.lost.push([topic, n, error.code])
    return false
  } finally {
    waiting--
  }
}

function somewhere () {
  // The last one is quiet.
  const last = topics.length - 1
  return topics[Math.random() < 0.03 ? last : Math.floor(Math.random() * last)]
}

function go () {
  if (!going) return
  if (waiting < MAX_WAITING) {
    const topic = somewhere()
    for (let left = Math.ceil(Math.random() * 3); left > 0; left--) publish(topic)
  }
  setTimeout(go, pace * (0.3 + Math.random() * 1.4))
}

/** Tried until it is acknowledged; as another event each time. */
async function mark (marker) {
  await Promise.all(topics.map(async (topic) => {
    while (!await publish(topic, marker)) await new Promise((resolve) => setTimeout(resolve, 50))
  }))
  tell({ marked: marker })
}

setInterval(flush, 10)
process.on('disconnect', () => process.exit())
process.on('message', (message) => {
  if (message.do === 'go') {
    going = true
    go()
  } else if (message.do === 'mark') mark(message.marker)
  else if (message.do === 'stop') {
    going = false
    const check = setInterval(() => {
      if (waiting > 0) return
      clearInterval(check)
      flush()
      tell({ quiet: true, stats: app.realtime.stats() })
    }, 10)
  }
})
tell({ port: app.server.address().port })
