/** A process of its own that holds members of a topic, until it is ended: holding.ts <redis url> <prefix> <members>. */
import Fastify from 'fastify'
import realtime from '../../lib/index.ts'
import { redis } from '../../lib/adapters/redis/index.ts'
import { memberStoreOf, type MemberStore } from '../../lib/core/adapter.ts'
import { memberTopicOf } from './members.ts'

const [url, prefix, count] = process.argv.slice(2) as [string, string, string]
const adapter = redis({ url, prefix })
const app = Fastify()
await app.register(realtime, { adapter })
app.topic('rooms/:room', { presence: true })
await app.ready()
const members = memberStoreOf(adapter as Parameters<typeof memberStoreOf>[0]) as MemberStore
const topic = memberTopicOf('rooms/1')
for (let i = 0; i < Number(count); i++) {
  members.hold(topic, `member-${i}`, { is: 'there', data: JSON.stringify({ id: `member-${i}`, info: { name: `Member ${i}` } }), shows: 'theirs' })
}
await members.held(topic.topic)
console.log('held')
