/** A master of a cluster dies, and its replica takes over. */
import t, { type Test } from 'tap'
import { slotOf } from '../../lib/adapters/redis/keys.ts'
import { connectStream, type StreamClient } from '../../lib/testing/index.ts'
import { RedisCluster, until, type RedisServer } from '../helpers/redis.ts'
import { startApp, type NodeApp } from './kit.ts'

t.setTimeout(120_000)

interface Stage { master: RedisServer, replica: RedisServer, nodes: [NodeApp, NodeApp], clients: [StreamClient, StreamClient] }

/** The master of `log/1` has a replica; two nodes have a listener each. */
async function open (t: Test): Promise<Stage> {
  const cluster = await RedisCluster.start(t)
  const master = await cluster.ownerOf(slotOf('realtime:{log/1}'))
  const replica = await cluster.replicate(t, master)
  const node = async (): Promise<NodeApp> => await startApp(t, { cluster: { nodes: cluster.nodes }, publishTimeout: 30_000 })
  const nodes = [await node(), await node()] as Stage['nodes']
  const listen = async ({ app }: NodeApp): Promise<StreamClient> => await connectStream(app, '/log/1', { t, timeout: 30_000 })
  return { master, replica, nodes, clients: [await listen(nodes[0]), await listen(nodes[1])] }
}

const dataOf = (client: StreamClient): unknown[] => client.events.filter(({ event }) => event === 'e').map(({ data }) => data)
const resetsOf = (client: StreamClient): number => client.events.filter(({ event }) => event === 'realtime:reset').length

async function replicated (replica: RedisServer, id: string | undefined): Promise<boolean> {
  return await replica.ask(async (redis) => {
    await redis.readonly()
    return (await redis.get('realtime:{log/1}:head'))?.startsWith(id as string) ?? false
  })
}

t.test('what its replica has goes on there: nothing is missing, doubled, or told', async (t) => {
  const { master, replica, nodes, clients } = await open(t)
  const publish = async (n: number): Promise<{ id?: string | undefined }> => await (nodes[n % 2] as NodeApp).app.realtime.publish('log/1', 'e', n)
  let last: string | undefined
  for (let n = 0; n < 10; n++) last = (await publish(n)).id
  await until('the replica to have all of it', async () => await replicated(replica, last))
  await master.kill()
  // Each waits until there is a master again.
  const waiting = Promise.all([publish(10), publish(12), publish(14)])
  await waiting
  for (const n of [11, 13]) await publish(n)
  for (const client of clients) {
    while (dataOf(client).length < 15) await client.next('e')
    t.same(dataOf(client), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 11, 13])
    t.equal(resetsOf(client), 0)
  }
})

t.test('a replica that lacks an acknowledged event: all listeners are told, once, and go on', async (t) => {
  const { master, replica, nodes: [one, two], clients } = await open(t)
  const { id } = await one.app.realtime.publish('log/1', 'e', 'kept')
  await until('the replica to have it', async () => await replicated(replica, id))
  // It cannot come back for what follows: it stands still until its master is gone.
  replica.signal('SIGSTOP')
  await master.ask(async (redis) => await redis.call('client', 'kill', 'type', 'replica'))
  await one.app.realtime.publish('log/1', 'e', 'lost')
  for (const client of clients) for (const text of ['kept', 'lost']) t.equal((await client.next('e')).data, text)
  await master.kill()
  replica.signal('SIGCONT')
  for (const client of clients) t.match((await client.next('realtime:reset')).data, { topic: 'log/1', reason: 'lost' })
  await two.app.realtime.publish('log/1', 'e', 'after')
  for (const client of clients) {
    t.equal((await client.next('e')).data, 'after')
    t.equal(resetsOf(client), 1)
  }
})
