/** A node of the table of begun runs, in a process of its own, whose sources say their first words. Says where it listens. */
import Fastify from 'fastify'
import realtime from '../../lib/index.ts'
import { redis } from '../../lib/adapters/redis/index.ts'
import { declare, Gates } from './run-states.ts'

const [url, prefix] = process.argv.slice(2) as [string, string]
const app = Fastify()
await app.register(realtime, { adapter: redis({ url, prefix }) })
declare(app, new Gates())
console.log(await app.listen({ port: 0, host: '127.0.0.1' }))
