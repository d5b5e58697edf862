/** Runs that are stopped, or left, before they have said anything. */
import { setTimeout as pause } from 'node:timers/promises'
import t from 'tap'
import { connectStream } from '../../lib/testing/index.ts'
import { calls, dial, gate, listen, live } from '../helpers/app.ts'
import { logged, quiet, SSE, counted, WARN } from '../helpers/sources.ts'

t.test('a run that is stopped logs no error either', async (t) => {
  const { app, log } = await logged(t)
  const returned = calls()
  app.stream('/answers', {
    resumable: { key: () => 'one' },
    async * source (_request, { signal }) {
      try {
        yield { event: 'word', data: 'Fish' }
        await pause(60_000, undefined, { signal })
      } finally {
        returned.note(1)
        throw new Error('cleanup') // eslint-disable-line no-unsafe-finally
      }
    }
  })
  await app.ready()
  const client = await connectStream(app, '/answers', { t })
  await client.next('word')
  t.equal(await app.realtime.stop('one'), true)
  t.same((await client.next('realtime:end')).data, { reason: 'stopped' })
  await returned.reach(1)
  await app.close()
  t.same(log.lines.filter(({ level }) => Number(level) >= WARN), [])
})

// --- runs --------------------------------------------------------------------------------

t.test('a run that is stopped before its first event has an end, and whoever waited for it is told', async (t) => {
  const app = await live(t)
  const asked = calls()
  app.stream('/answers', {
    resumable: { key: () => 'one' },
    source: () => counted(async () => { asked.note(1); return await new Promise(() => {}) }, () => {})
  })
  await app.ready()
  const connecting = connectStream(app, '/answers', { t })
  await asked.reach(1)
  t.equal(await app.realtime.stop('one'), true)
  const client = await connecting
  t.same((await client.next('realtime:end')).data, { reason: 'stopped' })
  await client.ended
})

t.test('an app closes in time while a run has said nothing', async (t) => {
  const app = await live(t, { closeTimeout: 60_000 }, { pluginTimeout: 120_000 })
  const [asked, returned] = [calls(), calls()]
  app.stream('/answers', {
    resumable: { key: () => 'one' },
    source: () => counted(async () => { asked.note(1); return await new Promise(() => {}) }, () => returned.note(1))
  })
  await listen(app)
  const client = await dial(t, app)
  client.ask('GET /answers', SSE)
  await asked.reach(1)
  await app.close()
  t.equal(returned.all.length, 1)
  quiet(t, app)
})

t.test('whoever starts a run and leaves before it says anything leaves it running', async (t) => {
  const app = await live(t)
  const [asked, speak] = [calls(), gate()]
  app.stream('/answers', {
    resumable: { key: () => 'one' },
    async * source () {
      asked.note(1)
      await speak.passed
      yield { event: 'word', data: 'Fish' }
    }
  })
  await listen(app)
  const client = await dial(t, app)
  client.ask('GET /answers', SSE)
  await asked.reach(1)
  client.socket.destroy()
  await client.letGo()
  const connecting = connectStream(app, '/answers', { t })
  speak.open()
  t.equal((await (await connecting).next('word')).data, 'Fish')
  t.equal(asked.all.length, 1)
})
