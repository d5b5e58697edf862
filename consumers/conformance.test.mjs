// The exported suites, by node:test: an adapter of one's own, and the Redis adapter on whichever ioredis is installed.
import { createRequire } from 'node:module'
import test from 'node:test'
import { memory } from 'fastify-realtime'
import { adapterSuite } from 'fastify-realtime/conformance'
import { redis } from 'fastify-realtime/redis'

/** Passes everything on to another adapter, and counts what is published. */
class Counting {
  name = 'counting'
  published = 0
  #inner = memory()

  start (sink) { return this.#inner.start(sink) }
  publish (...event) {
    this.published++
    return this.#inner.publish(...event)
  }

  ephemeral (...event) { return this.#inner.ephemeral(...event) }
  subscribe (...topic) { return this.#inner.subscribe(...topic) }
  unsubscribe (topic) { this.#inner.unsubscribe(topic) }
  read (...page) { return this.#inner.read(...page) }
  heads (topics) { return this.#inner.heads(topics) }
  close () { return this.#inner.close() }
}

// It keeps no states, so it carries no keyed topics.
const own = adapterSuite(() => [new Counting()], { keyed: false })
for (const { name, run } of own) test(`an adapter of one's own: ${name}`, run)

if (process.env.REDIS_SOCKET) {
  const { version } = createRequire(import.meta.url)('ioredis/package.json')
  let prefixes = 0
  const twoNodes = () => {
    const options = { connection: { path: process.env.REDIS_SOCKET }, prefix: `p${prefixes++}:` }
    return [redis(options), redis(options)]
  }
  for (const { name, run } of adapterSuite(twoNodes)) test(`ioredis ${version}: ${name}`, run)
}
