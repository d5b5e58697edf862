/** What docs/guides/proxies.md says, tried: each of its configurations runs before two nodes on one Redis. */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { connect as connectHttp2, type ClientHttp2Session } from 'node:http2'
import { connect } from 'node:net'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { fetch } from 'undici'
import { redis } from '../lib/adapters/redis/index.ts'
import type { FastifyInstance } from 'fastify'
import { ChannelClient, StreamClient } from '../lib/testing/index.ts'
import { live, refusalOf } from './helpers/app.ts'
import { cert } from './helpers/certificate.ts'
import { absent, blockOf, present, proxies, RunningProxy, swap, type Proxy } from './helpers/proxies.ts'
import { freePort, RedisServer, until, type Teardown } from './helpers/redis.ts'

// Servers, nodes and idle timeouts, on machines of any size.
t.setTimeout(600_000)

/** Not a speed that is asked for: past it something is wrong. */
const PATIENCE_MS = 30_000
const IDLE_SECONDS = 4
const HEARTBEAT_MS = 400
/** Between the 2 ms that an event takes and the 200 ms for which it is held back where a proxy waits for more. */
const HELD_MS = 120
/** Not the proxy's address. */
const CLIENT = '127.0.0.2'
const program = fileURLToPath(new URL('./helpers/proxied-node.ts', import.meta.url))

const server = await RedisServer.start(t)
let prefixes = 0

class Node {
  readonly port: number
  readonly #prefix: string
  #child: ChildProcess | undefined

  constructor (t: Teardown, port: number, prefix: string) {
    this.port = port
    this.#prefix = prefix
    t.teardown(() => this.kill())
  }

  /** Resolves when it listens. */
  async start (): Promise<void> {
    const child = spawn(process.execPath, [...process.execArgv, program, String(this.port), server.url, this.#prefix, String(HEARTBEAT_MS)], { stdio: ['ignore', 'pipe', 'inherit'] })
    this.#child = child
    await Promise.race([once(child.stdout, 'data'), once(child, 'exit').then(() => { throw new Error('the node has ended') })])
  }

  async kill (): Promise<void> {
    const child = this.#child
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
    child.kill('SIGKILL')
    await once(child, 'exit')
  }
}

interface Scene {
  proxy: Proxy
  via: RunningProxy
  nodes: [Node, Node]
  publish: (n: number) => Promise<unknown>
  listen: (t: Test) => Promise<StreamClient>
  talk: (t: Test) => Promise<ChannelClient>
  /** As a page of another site does it; not opened yet. */
  foreign: (t: Test) => ChannelClient
}

async function open (t: Test, proxy: Proxy, change?: (block: string) => string): Promise<Scene> {
  const prefix = `proxies-${prefixes++}:`
  const nodes: [Node, Node] = [new Node(t, await freePort(), prefix), new Node(t, await freePort(), prefix)]
  const [publisher] = await Promise.all([publisherOf(t, prefix), ...nodes.map(async (node) => await node.start())])
  const via = await RunningProxy.start(t, proxy, [nodes[0].port, nodes[1].port], IDLE_SECONDS, change)
  const { port } = via.where
  const link = { host: `127.0.0.1:${port}`, open: () => connect({ port, host: '127.0.0.1', localAddress: CLIENT }) }
  await until('the proxy to know its nodes', async () => (await fetch(`${via.url}/ready`)).status === 200)
  return {
    proxy,
    via,
    nodes,
    publish: async (n) => await publisher.realtime.publish('news', 'tick', { n }),
    listen: async (t) => await opened(new StreamClient(link, '/news', { timeout: PATIENCE_MS, t })),
    foreign: (t) => new ChannelClient(link, '/talk', { headers: { origin: 'http://elsewhere.example' }, timeout: PATIENCE_MS, t }),
    talk: async (t) => {
      // As a browser does: it says whose page it is.
      const client = await opened(new ChannelClient(link, '/talk', { format: 'envelope', headers: { origin: via.url }, timeout: PATIENCE_MS, t }))
      await client.next('realtime:subscribed')
      return client
    }
  }
}

/** It is no node: nobody listens on it. */
async function publisherOf (t: Test, prefix: string): Promise<FastifyInstance> {
  const app = await live(t, { adapter: redis({ url: server.url, prefix }) })
  app.topic('news')
  await app.ready()
  return app
}

async function opened<T extends { open: () => Promise<void> }> (client: T): Promise<T> {
  await client.open()
  return client
}

/** Publishes each when the one before was heard. The median of what they took, ms. */
async function oneAtATime (t: Test, { publish, listen }: Scene, count: number): Promise<number> {
  const client = await listen(t)
  const took: number[] = []
  for (let n = 0; n < count; n++) {
    const start = performance.now()
    await publish(n)
    const { data } = await client.next()
    took.push(performance.now() - start)
    t.same(data, { n })
  }
  await client.close()
  return took.sort((a, b) => a - b)[count >> 1] as number
}

for (const proxy of present) {
  t.test(proxy.name, async (t) => {
    const scene = await open(t, proxy)
    const { via, nodes, publish, listen, talk } = scene

    await t.test('an event arrives as soon as it was published, none is held back', async (t) => {
      const median = await oneAtATime(t, scene, 100)
      t.comment(`${proxy.name}: p50 ${median.toFixed(1)} ms`)
      t.ok(median < HELD_MS, `${median} ms`)
    })

    await t.test('a stream that was cut goes on where it was, and the node knows whose it is', async (t) => {
      const client = await listen(t)
      t.match(client.headers, { 'x-client': CLIENT, 'x-scheme': 'http' })
      await publish(1)
      t.same((await client.next()).data, { n: 1 })
      await client.drop()
      await publish(2)
      await publish(3)
      await client.resume()
      t.same([(await client.next()).data, (await client.next()).data], [{ n: 2 }, { n: 3 }])
    })

    await t.test('two who listen to the same stream hear the same', async (t) => {
      const clients = await Promise.all([listen(t), listen(t), listen(t)])
      await publish(4)
      for (const client of clients) t.same((await client.next()).data, { n: 4 })
    })

    await t.test('a WebSocket is upgraded, hears an event and is answered', async (t) => {
      const client = await talk(t)
      await publish(5)
      t.same((await client.next()).data, { n: 5 })
      t.same(await client.request('echo', { said: 'hello' }), { said: 'hello' })
    })

    await t.test('a page of another site is not let in', async (t) => {
      const client = scene.foreign(t)
      if (proxy.passesRefusals) {
        t.equal((await refusalOf(client.open())).statusCode, 403)
        return
      }
      await client.open()
      t.match(await client.ended, { code: 1011 }, 'it was accepted by the proxy, and is closed')
    })

    await t.test('what is idle outlives the timeout of the proxy by its heartbeat', async (t) => {
      const [stream, channel] = [await listen(t), await talk(t)]
      // Opened after them, and without a heartbeat: when it has been cut, the timeout has struck.
      if (proxy.cutsIdle) await quietIsCut(via.url)
      await publish(6)
      t.same((await stream.next()).data, { n: 6 })
      t.same((await channel.next()).data, { n: 6 })
    })

    if (proxy.streams > 0) {
      await t.test('over HTTP/2, streams share a connection', async (t) => {
        const session = connectHttp2(`https://localhost:${via.where.tlsPort}`, { ca: cert })
        t.teardown(() => session.destroy())
        const streams = Array.from({ length: proxy.streams }, () => listenOver(session))
        for (const { head } of streams) t.match(await head, { ':status': 200, 'x-scheme': 'https' })
        await publish(7)
        for (const { says } of streams) await says('data: {"n":7}')
      })
    }

    await t.test('who leaves has left the node too', async (t) => {
      const clients = [await listen(t), await talk(t)]
      for (const client of clients) await client.drop()
      for (const { port } of nodes) await until('the node to have no clients', async () => await clientsOf(port) === 0)
    })

    if (proxy.balances) {
      await t.test('both nodes die, one after the other, and everybody is on the other at once', async (t) => {
        const { stream, channel, others } = await bothDie(t, scene)
        t.same({ stream, others }, { stream: 0, others: 0 }, 'nobody was refused')
        if (proxy.retriesUpgrades) t.equal(channel, 0, 'and no upgrade was')
      })
    }
    await listen(t)
    await via.stop()
    await t.rejects(async () => { await fetch(via.url) }, 'it leaves nothing that listens')
  })
}

t.test('the servers that are here have the configurations of the guide', async (t) => {
  if (absent.length > 0) t.comment(`not here, and not tried: ${absent.map(({ name }) => name).join(', ')}`)
  for (const proxy of proxies) t.ok(blockOf(proxy), proxy.name)
})

async function clientsOf (port: number): Promise<number> {
  const { sse, websocket } = await (await fetch(`http://127.0.0.1:${port}/count`)).json() as { sse: number, websocket: number }
  return sse + websocket
}

/** Resolves when a stream that says nothing was cut. */
async function quietIsCut (url: string): Promise<void> {
  const { status, body } = await fetch(`${url}/quiet`, { headers: { accept: 'text/event-stream' } })
  if (status !== 200) throw new Error(`it was answered ${status}`)
  try {
    for await (const part of body as AsyncIterable<Uint8Array>) if (part.length === 0) return
  } catch {}
}

function listenOver (session: ClientHttp2Session) {
  const stream = session.request({ ':path': '/news', accept: 'text/event-stream' }).setEncoding('utf8')
  let text = ''
  stream.on('data', (part: string) => { text += part })
  return {
    head: once(stream, 'response').then(([head]) => head as Record<string, unknown>),
    says: async (wanted: string): Promise<void> => await until(wanted, () => text.includes(wanted), PATIENCE_MS)
  }
}

/** Kills the node that the clients are on, starts it again, and kills the other. How often somebody was refused meanwhile. */
async function bothDie (t: Test, { proxy, via, nodes, publish, listen, talk }: Scene) {
  const refused = { stream: 0, channel: 0, others: 0 }
  const [stream, channel] = [await listen(t), await talk(t)]
  let n = 10
  for (const dying of [...nodes].sort((a) => String(a.port) === stream.headers['x-node'] ? -1 : 1)) {
    await publish(n)
    for (const client of [stream, channel]) t.same((await client.next()).data, { n })
    await dying.kill()
    await stream.ended
    await publish(n + 1)
    refused.stream += await comeBack(stream)
    // It may have been on the other.
    if (await Promise.race([channel.ended.then(() => true), channel.request('echo', {}).then(() => false, () => true)])) refused.channel += await comeBack(channel)
    for (const client of [stream, channel]) t.same((await client.next()).data, { n: n + 1 })
    for (let i = 0; i < 6; i++) if ((await fetch(`${via.url}/ready`)).status !== 200) refused.others++
    await dying.start()
    if (proxy.checks) await until('the proxy to know the node again', async () => (await fetch(`${via.url}/ready`)).headers.get('x-node') === String(dying.port))
    n += 2
  }
  return refused
}

async function comeBack (client: StreamClient | ChannelClient): Promise<number> {
  let refused = 0
  await until('the client to be back', async () => {
    try {
      await client.open()
      return true
    } catch (error) {
      refused++
      throw error
    }
  })
  return refused
}

/** What the guide says of a setting is seen where it is taken out. */
const of = (name: string): Proxy[] => present.filter((proxy) => proxy.name === name)

for (const proxy of of('HAProxy')) {
  t.test('HAProxy without http-no-delay holds each event back', async (t) => {
    const scene = await open(t, proxy, (block) => swap(block, { '  option http-no-delay\n': '' }))
    const median = await oneAtATime(t, scene, 15)
    t.comment(`p50 ${median.toFixed(1)} ms`)
    t.ok(median > HELD_MS, `${median} ms`)
  })
}

for (const proxy of of('nginx')) {
  t.test('nginx without max_fails=0 answers 502 where the other node was restarted before', async (t) => {
    // The default of fail_timeout is 10 s, in which a busy machine may not have restarted a node.
    const { via, nodes: [one, other] } = await open(t, proxy, (block) => swap(block, { ' max_fails=0': ' fail_timeout=100s' }))
    await one.kill()
    for (let i = 0; i < 6; i++) t.equal((await fetch(`${via.url}/ready`)).status, 200)
    await one.start()
    await other.kill()
    t.equal((await fetch(`${via.url}/ready`)).status, 502)
    t.equal((await fetch(`http://127.0.0.1:${one.port}/ready`)).status, 200, 'though it is there')
  })
}
