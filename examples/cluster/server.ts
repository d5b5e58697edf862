/** The pet store on three nodes, with one Redis and one balancer, all on this machine; and keys to break things. */
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { createBalancer } from './balancer.ts'
import { findRedis, RedisServer } from './redis.ts'
import { ShopNode } from './shop-node.ts'

const port = Number(process.env.PORT ?? 3000)
const host = process.env.HOST ?? '127.0.0.1'
const say = (text: string): void => console.log(text)

if (!Number.isInteger(port) || port < 0 || port > 65535) fail(`PORT must be a number from 0 to 65535, not '${process.env.PORT}'.`)

const program = findRedis()
if (program === undefined) {
  fail(process.env.REDIS_SERVER_BIN
    ? `REDIS_SERVER_BIN is '${process.env.REDIS_SERVER_BIN}', which is not a program.`
    : 'This example needs a redis-server (7 or newer) or a valkey-server (7.2 or newer) on PATH; or set REDIS_SERVER_BIN.\n' +
      'Debian and Ubuntu: sudo apt-get install redis-server. macOS: brew install redis.')
}

const redis = await RedisServer.start(program)
// The nodes share what they sign cookies with, so that who signed in on one is known to all.
const env = { REDIS_URL: redis.url, SESSION_SECRET: process.env.SESSION_SECRET ?? randomBytes(32).toString('hex') }
const nodes = ['node-1', 'node-2', 'node-3'].map(name => new ShopNode(name, env, say))
const balancer = createBalancer(() => nodes.flatMap(({ port }) => port ?? []))

process.on('exit', () => {
  for (const each of [...nodes, redis]) each.stopNow()
})
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, quit)

say(`Redis is running (${program})`)
await Promise.all(nodes.map(node => node.start()))
balancer.once('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EADDRINUSE') throw error
  fail(`Port ${port} is in use; choose another with PORT=${port + 1} npm start -- cluster`)
})
balancer.listen(port, host)
await once(balancer, 'listening')

say(`Pet store on three nodes: http://${host}:${(balancer.address() as AddressInfo).port}`)
say('Open it in two windows: each is another person.')
say('Keys: 1, 2, 3 kill a node; r restarts Redis; e restarts it empty; q quits.')

if (process.stdin.isTTY) process.stdin.setRawMode(true)
// A terminal gives keys, a pipe gives lines; the ends of lines mean nothing.
process.stdin.setEncoding('utf8').on('data', text => {
  for (const key of String(text)) press(key)
})

function press (key: string): void {
  if (key === 'q' || key === '\u0003') quit()
  else if (key === 'r' || key === 'e') restartRedis(key === 'e')
  else nodes[Number(key) - 1]?.kill()
}

let restarting = false

function restartRedis (empty: boolean): void {
  if (restarting) return
  restarting = true
  say(empty ? 'Killing Redis and deleting its data' : 'Killing Redis')
  redis.restart({ empty })
    .then(() => say('Redis is running again'), error => fail(String(error)))
    .finally(() => { restarting = false })
}

let quitting = false

function quit (): void {
  // Asked twice: at once.
  if (quitting) process.exit(1)
  quitting = true
  say('Closing')
  balancer.close()
  Promise.all(nodes.map(node => node.stop()))
    .then(() => redis.stop())
    .then(() => process.exit(0), error => fail(String(error)))
}

function fail (why: string): never {
  console.error(why)
  process.exit(1)
}
