// Starts adapters and closes them again, at every moment of the start: <options as JSON>. Prints what became of them,
// and ends by itself when nothing is left open.

import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

const { lib, jobs, at } = JSON.parse(process.argv[2])
const { redis } = await import(pathToFileURL(join(lib, 'adapters/redis/index.js')).href)

/** What goes wrong where nobody listens. */
const stray = []
for (const event of ['uncaughtException', 'unhandledRejection']) process.on(event, (error) => { stray.push(`${event}: ${error?.stack ?? error}`) })

const sink = { event () {}, ephemeral () {}, suspect () {}, state () {} }
const started = { yes: 0, no: 0 }
/** What was started last of what is not over, for whoever wonders why this process does not end. */
const going = new Map()
const errors = new Set()

/** Closed a while after the start, whatever has become of that. */
async function startAndClose (options, ms) {
  const adapter = redis(options)
  going.set(adapter, { options, stage: 'starts' })
  const start = adapter.start(sink).then(() => { started.yes++ }, (error) => {
    started.no++
    errors.add(`${error.code}`)
  })
  await new Promise((resolve) => { setTimeout(resolve, ms) })
  going.get(adapter).stage = 'closes'
  await adapter.close()
  going.get(adapter).stage = 'closed, not settled'
  await start
  going.delete(adapter)
}

const queue = [...jobs]
async function work () {
  for (let job = queue.shift(); job; job = queue.shift()) await startAndClose(job.options, job.ms)
}
await Promise.all(Array.from({ length: at }, work))
process.on('exit', () => { process.stdout.write(JSON.stringify({ started, errors: [...errors], stray })) })
process.on('SIGTERM', () => {
  process.stdout.write(JSON.stringify({ going: [...going.values()], resources: process.getActiveResourcesInfo() }), () => process.exit(1))
})
