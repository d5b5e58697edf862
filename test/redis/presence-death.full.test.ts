/** A node that holds 10,000 members is ended by kill -9: what the others are told, how soon, and what it costs Redis. */
import t from 'tap'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { Redis } from 'ioredis'
import { redis } from '../../lib/adapters/redis/index.ts'
import { connectChannel } from '../../lib/testing/index.ts'
import { live } from '../helpers/app.ts'
import { RedisServer } from '../helpers/redis.ts'
import { Roster } from '../helpers/roster.ts'

const MEMBERS = 10_000
const server = await RedisServer.start(t)

async function cpuOf (redis: Redis): Promise<number> {
  const info = await redis.info('cpu')
  const seconds = ['used_cpu_user', 'used_cpu_sys'].map((name) => Number(new RegExp(`${name}:([\\d.]+)`).exec(info)?.[1]))
  return seconds.reduce((sum, one) => sum + one, 0) * 1000
}

async function callsOf (redis: Redis): Promise<number> {
  const info = await redis.info('commandstats')
  return [...info.matchAll(/cmdstat_(evalsha|eval|publish|mget|get|pexpire):calls=(\d+)/g)].reduce((sum, [, , calls]) => sum + Number(calls), 0)
}

t.test('kill -9 of a node with 10,000 members', { timeout: 120_000 }, async (t) => {
  const [reaper, other] = await Promise.all([0, 1].map(async () => {
    const told: string[] = []
    const app = await live(t, { adapter: redis({ url: server.url, prefix: 'death:' }), identify: (request) => ({ id: String(request.headers.user) }) })
    const room = app.topic('rooms/:room', { presence: { grace: 0, onLeave: ({ id }) => told.push(id) } })
    app.channel('/rooms/:room', { topics: room, presence: true })
    app.channel('/watch/:room', { topics: room, presence: 'watch' })
    await app.ready()
    return { app, room, told }
  }))
  if (!reaper || !other) throw new Error('both were started')
  // Some of them have a connection elsewhere too.
  const twins = ['member-1', 'member-5000', 'member-9999']
  for (const user of twins) await connectChannel(other.app, '/rooms/1', { t, format: 'envelope', headers: { user } })
  const child = spawn(process.execPath, [...process.execArgv, fileURLToPath(new URL('../helpers/holding.ts', import.meta.url)), server.url, 'death:', String(MEMBERS)], { stdio: ['ignore', 'pipe', 'inherit'] })
  t.teardown(() => child.kill('SIGKILL'))
  const [line] = await once(createInterface({ input: child.stdout }), 'line') as [string]
  t.equal(line, 'held')
  const roster = new Roster(await connectChannel(reaper.app, '/watch/1', { t, format: 'envelope', headers: { user: 'watcher' }, timeout: 30_000 }))
  await roster.until('all of them', ({ ids }) => ids.length === MEMBERS, 20_000)

  await server.ask(async (redis) => {
    const [calls, since] = [await callsOf(redis), performance.now()]
    await new Promise((resolve) => setTimeout(resolve, 10_000))
    const perSecond = (await callsOf(redis) - calls) / ((performance.now() - since) / 1000)
    t.comment(`at rest ${perSecond.toFixed(1)} commands a second for 3 nodes and ${MEMBERS} members`)
    t.ok(perSecond < 15, 'what a quiet room costs depends on the nodes, and not on the members')

    const before = await cpuOf(redis)
    const killed = performance.now()
    child.kill('SIGKILL')
    await roster.until('only those that are elsewhere too', ({ ids }) => ids.length === twins.length, 30_000)
    const seconds = (performance.now() - killed) / 1000
    const cpu = await cpuOf(redis) - before
    t.comment(`${seconds.toFixed(1)} s until all had left; ${cpu.toFixed(0)} ms of Redis' CPU`)
    t.ok(seconds < 10, `within 10 s: ${seconds}`)
    t.ok(cpu < 150, `no more than 150 ms of Redis' CPU: ${cpu}`)
  })
  const leaves = roster.changes.filter((change) => change.startsWith('-'))
  t.equal(leaves.length, MEMBERS - twins.length, 'one leave each')
  t.equal(new Set(leaves).size, leaves.length)
  t.equal(reaper.told.length + other.told.length, leaves.length, 'onLeave is called once for each in all nodes together')
  t.same((await reaper.room.presence({ room: '1' })).members.map(({ id }) => id), [...twins].sort())
})
