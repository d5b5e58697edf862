/** Publishing to keyed topics, and removing from them: what is refused, before anything is stored. */
import t, { type Test } from 'tap'
import { memory } from '../../../lib/adapters/memory.ts'
import type { Topic, TopicOptions } from '../../../lib/index.ts'
import { openChannel, openStream, serve } from '../../conformance/clients.ts'
import { bare, codeOf, live } from '../../helpers/app.ts'

type Any = Topic<Record<string, string>, Record<string, unknown>>

async function topicsOf (t: Test) {
  const app = await live(t)
  const [keyed, plain, loose] = [app.topic('keyed', { keyed: true }), app.topic('plain'), app.topic('loose', { history: false })] as unknown as [Any, Any, Any]
  await app.ready()
  return { app, keyed, plain, loose }
}

const BAD_KEYS = ['', 'a\nb', '\0', 'x'.repeat(256), 'é'.repeat(128), '\ud800', 1, null, {}, ['a']]

t.test('a publish to a keyed topic needs a key that is one', async (t) => {
  const { keyed } = await topicsOf(t)
  for (const key of [undefined, ...BAD_KEYS]) {
    const options = { key } as { key: string }
    t.equal(await codeOf(() => keyed.publish({}, 'set', 1, options)), 'FST_ERR_REALTIME_PUBLISH_OPTION', JSON.stringify(key))
    t.equal(await codeOf(() => keyed.remove({}, key as string)), 'FST_ERR_REALTIME_PUBLISH_OPTION', JSON.stringify(key))
  }
  t.equal(await codeOf(() => keyed.publish({}, 'set', 1)), 'FST_ERR_REALTIME_PUBLISH_OPTION')
  t.same((await keyed.state({})).size, 0)
  t.same((await keyed.history({})).events, [])
})

t.test('what remove does not take', async (t) => {
  const { app, keyed, plain, loose } = await topicsOf(t)
  for (const options of [{ except: 'c' }, { key: 'a' }, { unknown: 1 }, { dedupe: '' }, { dedupe: 1 }, { expect: 1 }, { expect: '' }, 1, 'x', null, []]) {
    t.match(await codeOf(() => keyed.remove({}, 'a', options as object)), /FST_ERR_REALTIME_PUBLISH_OPTION/, JSON.stringify(options))
  }
  for (const topic of [plain, loose]) t.equal(await codeOf(() => topic.remove({}, 'a')), 'FST_ERR_REALTIME_NOT_KEYED')
  t.equal(await codeOf(() => app.realtime.remove('none', 'a')), 'FST_ERR_REALTIME_TOPIC_UNKNOWN')
  await app.close()
  t.equal(await codeOf(() => keyed.remove({}, 'a')), 'FST_ERR_REALTIME_CLOSED')
})

t.test('a removal has the options of a publish: expect, dedupe, and no id where nothing was there', async (t) => {
  const { app, keyed } = await topicsOf(t)
  const { id } = await keyed.publish({}, 'set', 1, { key: 'a' })
  await t.rejects(keyed.remove({}, 'a', { expect: null }), { code: 'FST_ERR_REALTIME_CONFLICT' })
  const gone = await keyed.remove({}, 'a', { expect: id as string, dedupe: 'once' })
  t.same(await keyed.remove({}, 'a', { dedupe: 'once' }), gone)
  t.same(await app.realtime.remove('keyed', 'a'), { id: undefined })
  t.match((await keyed.history({})).events, [{ event: 'set', key: 'a' }, { id: gone.id, event: 'realtime:removed', key: 'a', data: { topic: 'keyed', key: 'a' } }])
})

t.test('options of keyed', async (t) => {
  const app = await live(t)
  const table: Array<[code: string, options: object]> = [
    ...[1, 'yes', null, [], { keys: 1 }, { maxKeys: 0 }, { maxKeys: 1_000_001 }, { maxKeys: 1.5 }, { maxKeys: '5' }, { maxBytes: 0 }, { maxBytes: -1 },
      { maxBytes: '1 MB' }, { lifetime: 0 }, { lifetime: 'week' }].map((keyed): [string, object] => ['OPTION_INVALID', { keyed }]),
    ...['', 'realtime:x', 'a\nb', 'open', 5].map((event): [string, object] => ['EVENT_NAME', { keyed: { event } }]),
    ['OPTION_INVALID', { keyed: true, history: false }],
    ['OPTION_INVALID', { keyed: true, snapshot: () => 1 }]
  ]
  for (const [code, options] of table) {
    t.match(await codeOf(() => app.topic('wrong', options as TopicOptions<object, never>)), `FST_ERR_REALTIME_${code}`, JSON.stringify(options))
  }
  for (const [i, keyed] of [false, true, {}, { maxKeys: 1_000_000, maxBytes: 1, lifetime: 1e15, event: 'all' }].entries()) {
    t.doesNotThrow(() => app.topic(`right/${i}`, { keyed }), JSON.stringify(keyed))
  }
  // Said to be for ever.
  t.doesNotThrow(() => app.topic('right/ever', { keyed: { lifetime: Infinity } }))
})

t.test('an adapter without states carries no keyed topic', async (t) => {
  const { default: realtime } = await import('../../../lib/index.ts')
  const app = bare(t)
  await app.register(realtime, { adapter: Object.assign(memory(), { state: undefined }) as unknown as ReturnType<typeof memory> })
  t.equal(await codeOf(() => app.topic('keyed', { keyed: true })), 'FST_ERR_REALTIME_KEYED_UNSUPPORTED')
  app.topic('plain', { keyed: false })
})

t.test('nobody but remove says realtime:removed: no publish, no direct event, no relay, no source', async (t) => {
  const app = await serve(t, {}, (app) => {
    app.topic('keyed', { keyed: true })
    app.stream('/source', { source: function * () { yield { event: 'realtime:removed', data: { topic: 'keyed', key: 'a' } } } } as unknown as Parameters<typeof app.stream>[1])
    app.channel('/ws', { topics: 'keyed' })
  })
  t.match(await codeOf(() => app.realtime.publish('keyed', 'realtime:removed', { topic: 'keyed', key: 'a' }, { key: 'a' })), 'FST_ERR_REALTIME_EVENT_NAME')
  t.match(await codeOf(() => app.channel('/other', { topics: 'keyed', messages: { 'realtime:removed': { relay: true } } } as unknown as Parameters<typeof app.channel>[1])), /FST_ERR_REALTIME/)
  const channel = await openChannel(t, app, '/ws')
  const [connection] = app.realtime.connections()
  t.match(await codeOf(() => connection?.send('realtime:removed', {})), 'FST_ERR_REALTIME_EVENT_NAME')
  channel.send({ type: 'realtime:removed', topic: 'keyed', key: 'a' })
  t.match(await channel.next({ type: 'error' }), { code: /./ })
  const stream = await openStream(t, app, '/source').catch((error: { statusCode: number }) => error)
  if ('inbox' in stream) {
    await stream.ended
    t.notOk(stream.reader.events.some(({ type }) => type === 'realtime:removed'))
  } else t.equal(stream.statusCode, 500)
})

t.test('many removals yield to the sockets', async (t) => {
  const { keyed } = await topicsOf(t)
  for (let i = 0; i < 1000; i++) await keyed.publish({}, 'set', i, { key: String(i) })
  let turns = 0
  const count = (): void => {
    turns++
    timer = setImmediate(count)
  }
  let timer = setImmediate(count)
  for (let i = 0; i < 1000; i++) await keyed.remove({}, String(i))
  clearImmediate(timer)
  t.ok(turns >= 5, `${turns} turns`)
})
