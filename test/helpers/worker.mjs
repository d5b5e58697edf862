// A worker of node:cluster with an app of the built package: says what that has logged, and ends.
import Fastify from 'fastify'
import realtime, { memory } from '../../dist/index.js'

const lines = []
const app = Fastify({ logger: { level: 'info', stream: { write: (line) => { lines.push(JSON.parse(line)) } } } })
const adapter = memory()
if (process.argv[2] === 'shared') adapter.nodes = async () => 2
await app.register(realtime, { adapter })
await app.ready()
await app.close()
process.send(lines, () => process.disconnect())
