/** A node in a process of its own, with a source that speaks forever. Says where it listens. */
import { setTimeout as sleep } from 'node:timers/promises'
import Fastify from 'fastify'
import realtime from '../../lib/index.ts'
import { redis } from '../../lib/adapters/redis/index.ts'

const [url, prefix] = process.argv.slice(2) as [string, string]
const app = Fastify()
await app.register(realtime, { adapter: redis({ url, prefix }) })
app.stream('/answers/:id', {
  resumable: { key: ({ params }) => params.id },
  async * source () {
    for (let i = 0; ; i++) {
      yield { event: 'token', data: `word ${i}` }
      await sleep(20)
    }
  }
})
console.log(await app.listen({ port: 0, host: '127.0.0.1' }))
