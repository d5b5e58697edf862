// One contestant in a process of its own: node --expose-gc server.mjs <name> <options as JSON>
// It publishes as it is told and says what CPU that took.
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setImmediate as turn, setTimeout as sleep } from 'node:timers/promises'
import { contestants } from './contestants.mjs'

const [name, options] = process.argv.slice(2)
const server = await contestants[name](JSON.parse(options))

const cpu = server.cpu ?? (() => {
  const { user, system } = process.cpuUsage()
  return user + system
})

async function timed (work) {
  const before = cpu()
  await work()
  return { cpu: cpu() - before }
}

/** An event whose JSON has so many bytes. */
function event (n, bytes, stamped) {
  const bare = stamped ? { n, at: String(process.hrtime.bigint()) } : { n }
  return { ...bare, fill: 'x'.repeat(Math.max(0, bytes - JSON.stringify(bare).length - 10)) }
}

const batch = (n, burst, bytes) => Array.from({ length: burst }, (_, i) => event(n + i, bytes))

const ops = {
  cpu: () => ({ cpu: cpu() }),

  /** `count` events to each topic, `burst` at a time, with time to be read in between. */
  publish: ({ first, count, burst, bytes, gap, topics = 1 }) => timed(async () => {
    for (let n = first; n < first + count; n += burst) {
      const events = batch(n, burst, bytes)
      for (let topic = 0; topic < topics; topic++) server.publish(events, topic)
      await turn()
      await sleep(gap)
    }
  }),

  /** Stamped events at a steady rate, whatever becomes of them. */
  async steady ({ first, count, perSecond, bytes }) {
    const delay = monitorEventLoopDelay({ resolution: 1 })
    delay.enable()
    const started = performance.now()
    for (let i = 0; i < count; i++) {
      server.publish([event(first + i, bytes, true)], 0)
      await sleep(Math.max(0, started + (i + 1) * 1000 / perSecond - performance.now()))
    }
    delay.disable()
    return { delay: delay.percentile(99) / 1e6, longest: delay.max / 1e6 }
  },

  /** One round of heartbeats, with what comes back. A server that beats by itself is left alone for `ms`, its period. */
  async beat ({ ms }) {
    const delay = monitorEventLoopDelay({ resolution: 1 })
    delay.enable()
    const result = await timed(async () => {
      server.beat?.()
      await sleep(ms)
    })
    delay.disable()
    return { ...result, longest: delay.max / 1e6 }
  },

  async memory () {
    for (let i = 0; i < 6; i++) {
      globalThis.gc()
      await sleep(50)
    }
    const { rss, heapUsed, external } = process.memoryUsage()
    return { rss, heap: heapUsed + external }
  }
}

process.on('message', async ({ op, ...how }) => { process.send({ op, ...await ops[op](how) }) })
process.on('disconnect', () => process.exit())
process.send({ op: 'ready', port: server.port, path: server.path, wire: server.wire })
