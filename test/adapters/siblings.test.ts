/** One process of several is told that memory() works only within one process. */
import cluster from 'node:cluster'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { siblings } from '../../lib/adapters/siblings.ts'
import { memory, type Adapter } from '../../lib/index.ts'
import { logged } from '../helpers/sources.ts'

t.test('what shows that there are others', async (t) => {
  const table: Array<[object, boolean, boolean]> = [
    [{}, false, false],
    [{}, true, true],
    // PM2, in fork mode: the first of several cannot be told from one alone.
    [{ pm_id: '0', NODE_APP_INSTANCE: '0' }, false, false],
    [{ pm_id: '1', NODE_APP_INSTANCE: '1' }, false, true],
    // PM2, in cluster mode.
    [{ pm_id: '0', NODE_APP_INSTANCE: '0', instances: '4' }, true, true],
    [{ pm_id: '3', NODE_APP_INSTANCE: '0', instances: '1' }, true, false],
    [{ pm_id: '0' }, true, true],
    // Of somebody else's.
    [{ NODE_APP_INSTANCE: '2' }, false, false]
  ]
  for (const [env, isWorker, told] of table) t.equal(siblings(env, isWorker) !== undefined, told, JSON.stringify([env, isWorker]))
})

t.test('a process of its own is told nothing', async (t) => {
  const { app, log } = await logged(t)
  await app.ready()
  t.same(log.lines.filter(({ level }) => Number(level) >= 40), [])
})

for (const [name, told] of [['memory', true], ['shared', false]] as const) {
  t.test(`a worker of node:cluster with ${name === 'memory' ? 'memory()' : 'an adapter that knows other nodes'}`, async (t) => {
    cluster.setupPrimary({ exec: fileURLToPath(new URL('../helpers/worker.mjs', import.meta.url)), args: [name], execArgv: [], silent: true })
    const worker = cluster.fork({ NODE_OPTIONS: '' })
    t.teardown(() => { worker.process.kill() })
    const [lines] = await once(worker, 'message') as [Array<{ level: number, msg: string }>]
    const warnings = lines.filter(({ level }) => level >= 40).map(({ msg }) => msg)
    t.equal(warnings.length, told ? 1 : 0, warnings.join('\n'))
    if (told) t.match(warnings[0], /one of several \(it is a worker of node:cluster\).*works only within one process.*redis\(\) of fastify-realtime\/redis/)
    await once(worker, 'exit')
  })
}

t.test('memory() knows no other nodes', async (t) => {
  t.equal((memory() as Adapter).nodes, undefined)
})
