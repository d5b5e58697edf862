/** What is given to whoever asks for a run, in each of its states: by another node, where its own lives, closes and is killed. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import type { FastifyInstance } from 'fastify'
import { redis } from '../../lib/adapters/redis/index.ts'
import { listen, live, portOf } from '../helpers/app.ts'
import { RedisServer } from '../helpers/redis.ts'
import { checkCuts, declareChat } from '../helpers/run-cuts.ts'
import { faulty } from '../helpers/run-faults.ts'
import { checkState, declare, Gates, statesOf, type House } from '../helpers/run-states.ts'

const server = await RedisServer.start(t)
let prefixes = 0

async function node (t: Test, prefix: string, declared: (app: FastifyInstance) => void) {
  const adapter = redis({ url: server.url, prefix })
  const app = await live(t, { adapter })
  declared(app)
  await listen(app)
  return { app, adapter }
}

async function twoNodes (t: Test): Promise<House> {
  const [prefix, gates] = [`states${prefixes++}:`, new Gates()]
  const speaking = (app: FastifyInstance): void => { declare(app, gates) }
  const [owner, asker] = [await node(t, prefix, speaking), await node(t, prefix, speaking)]
  return {
    ...faulty(owner.adapter, gates),
    adapter: asker.adapter,
    asker: asker.app,
    gates,
    port: portOf(owner.app),
    stopped: async ({ key, space }) => await asker.app.realtime.stop(key, { space }),
    closed: async () => await owner.app.close()
  }
}

async function oneIsKilled (t: Test): Promise<House> {
  const [prefix, gates] = [`states${prefixes++}:`, new Gates()]
  const child = spawn(process.execPath, [...process.execArgv, fileURLToPath(new URL('../helpers/speaking.ts', import.meta.url)), server.url, prefix], { stdio: ['ignore', 'pipe', 'inherit'] })
  t.teardown(() => { child.kill('SIGKILL') })
  const [line] = await once(child.stdout as NodeJS.ReadableStream, 'data') as [Buffer]
  const { app, adapter } = await node(t, prefix, (app) => { declare(app, gates) })
  return { adapter, asker: app, gates, port: Number(new URL(line.toString().trim()).port), lost: () => child.kill('SIGKILL') }
}

const options = { timeout: 60_000 }
for (const name of statesOf({ held: true, stopped: true, lost: true, closed: true })) {
  t.test(`${name}: on another node`, options, async (t) => { await checkState(t, await twoNodes(t), name) })
}
for (const name of ['broken off', 'broken off before its first word']) {
  t.test(`${name}: its node is killed`, options, async (t) => { await checkState(t, await oneIsKilled(t), name) })
}
checkCuts(t, async (t, model) => {
  const prefix = `states${prefixes++}:`
  const chat = (app: FastifyInstance): void => { declareChat(app, model) }
  const [owner, asker] = [await node(t, prefix, chat), await node(t, prefix, chat)]
  return { owner: owner.app, asker: asker.app, adapter: owner.adapter, model }
})
