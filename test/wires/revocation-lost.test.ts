/** Orders that were lost: who can be asked about is asked again, and all others come back. */
import type { FastifyInstance, FastifyRequest } from 'fastify'
import t, { type Test } from 'tap'
import { memory, type CloseReason, type Connection, type RealtimeOptions } from '../../lib/index.ts'
import { connectChannel, connectStream, type ChannelClient } from '../../lib/testing/index.ts'
import { gate, live } from '../helpers/app.ts'
import { Roster } from '../helpers/roster.ts'
import type { Client } from '../helpers/revocation.ts'

/** An app whose node finds that it has lost orders when it is told to. */
async function forgetful (t: Test, options: RealtimeOptions = {}): Promise<{ app: FastifyInstance, lose: () => void }> {
  const adapter = memory()
  const [start, read] = [adapter.start.bind(adapter), adapter.read.bind(adapter)]
  let [lost, sink] = [false, undefined as Parameters<typeof start>[0] | undefined]
  adapter.start = async (own) => { await start(sink = own) }
  adapter.read = async (topic, after, limits) => {
    const page = await read(topic, after, limits)
    return lost && topic === 'realtime:control' ? { ...page, linked: false } : page
  }
  const app = await live(t, { adapter, ...options })
  const lose = (): void => {
    lost = true
    sink?.suspect(['realtime:control'])
    setImmediate(() => { lost = false })
  }
  return { app, lose }
}

t.test('orders were lost: who can be asked about is asked again, and all others come back, to be judged anew', async (t) => {
  const { app, lose } = await forgetful(t, { retry: 200, identify: (request) => ({ id: String(request.headers.as) }) })
  const asked: string[] = []
  const banned = new Set<string>()
  const secret = app.topic('secret/:id', {
    authorize: async (request, { topic }) => {
      asked.push(`${request.headers.as} ${topic}`)
      if (banned.has('broken')) throw Object.assign(new Error('the database is away'), { statusCode: 503 })
      return !banned.has(String(request.headers.as))
    }
  })
  const [plain, open] = [app.topic('plain'), app.topic('open', { authorize: 'anyone' })]
  const reasons = new Map<string, string>()
  const route = { onDisconnect: ({ identity }: Connection, { name, reconnect }: CloseReason) => { reasons.set(identity.id, `${name} ${reconnect}`) } }
  app.stream('/asked', { topics: secret.at({ id: '1' }), ...route })
  app.stream('/hooks', { topics: plain, ...route })
  app.stream('/both', { topics: [secret.at({ id: '1' }), plain], ...route })
  app.stream('/anyone', { topics: open, ...route })
  app.stream('/source', { source: async function * (_request, { signal }) { yield { data: 'x' }; await new Promise((resolve) => signal.addEventListener('abort', resolve)) }, ...route })
  app.channel('/talk', { messages: { hello: { handler: () => {} } }, ...route })
  app.channel('/asked-channel', { topics: secret.at({ id: '2' }), ...route })
  const as = (name: string) => ({ t, headers: { as: name } })
  const clients: Record<string, Client> = {
    ann: await connectStream(app, '/asked', as('ann')),
    eve: await connectStream(app, '/asked', as('eve')),
    hooks: await connectStream(app, '/hooks', as('hooks')),
    both: await connectStream(app, '/both', as('both')),
    anyone: await connectStream(app, '/anyone', as('anyone')),
    source: await connectStream(app, '/source', as('source')),
    talk: await connectChannel(app, '/talk', as('talk')),
    channel: await connectChannel(app, '/asked-channel', { ...as('channel'), format: 'envelope' })
  }
  await (clients.channel as ChannelClient).next('realtime:subscribed')
  const before = asked.length
  banned.add('eve')
  lose()
  for (const [name, reason] of [['hooks', 'judged-anew true'], ['both', 'judged-anew true'], ['anyone', 'judged-anew true'], ['source', 'judged-anew true'], ['talk', 'judged-anew true'], ['eve', 'forbidden false']] as const) {
    await clients[name]?.ended
    t.equal(reasons.get(name), reason, name)
  }
  t.same(asked.slice(before).sort(), ['ann secret/1', 'channel secret/2', 'eve secret/1'])
  t.same(app.realtime.connections().map(({ identity }) => identity.id).sort(), ['ann', 'channel'])
  await app.realtime.publish('secret/1', 'said', 1)
  t.equal((await clients.ann?.next('said'))?.data, 1)
  banned.add('broken')
  lose()
  await Promise.all([clients.ann?.ended, clients.channel?.ended])
  t.equal(reasons.get('ann'), 'try-again-later true', 'what cannot be asked now is no refusal')
})

t.test('orders were lost: who is on the way in comes back', async (t) => {
  const { app, lose } = await forgetful(t, { retry: 200 })
  const [held, passed] = [gate(), gate()]
  app.topic('news')
  const preHandler = async (request: FastifyRequest): Promise<void> => {
    if (request.headers.hold === undefined) return
    held.open()
    await passed.passed
  }
  app.stream('/stream', { topics: 'news', preHandler })
  const [entered, mayEnter] = [gate(), gate()]
  app.channel('/channel', { topics: 'news', onConnect: async () => { entered.open(); await mayEnter.passed } })
  await app.ready()
  const stream = app.inject({ url: '/stream', headers: { accept: 'text/event-stream', hold: '1' } })
  const channel = await connectChannel(app, '/channel', { t })
  await Promise.all([held.passed, entered.passed])
  lose()
  t.equal((await channel.ended).code, 1013)
  passed.open()
  mayEnter.open()
  t.match((await stream).body, /^retry: \d+\n\n$/)
  t.same(app.realtime.connections(), [])
  await connectStream(app, '/stream', { t })
})

t.test('a member that may not be there any more leaves at once', async (t) => {
  const banned = new Set<string>()
  const { app, lose } = await forgetful(t, { identify: (request) => ({ id: String(request.headers.as) }) })
  const room = app.topic('rooms/:id', { presence: { grace: 60_000 }, authorize: (request) => !banned.has(String(request.headers.as)) })
  app.channel('/rooms/:id', { topics: room, presence: true })
  const join = async (as: string) => await connectChannel(app, '/rooms/1', { t, format: 'envelope', headers: { as } })
  const [ann, eve] = [await join('ann'), await join('eve')]
  await new Roster(ann).untilIds('ann', 'eve')
  banned.add('eve')
  lose()
  t.match(await eve.ended, { code: 4403 })
  await new Roster(ann).untilIds('ann')
})
