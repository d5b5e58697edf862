/** Compare and append, as an app uses it. */
import t from 'tap'
import { codeOf, live } from '../helpers/app.ts'

t.test('a publish behind what was seen, or a conflict that names the last event', async (t) => {
  const app = await live(t)
  const game = app.topic('games/:id')
  const first = await game.publish({ id: '1' }, 'move', { n: 1 }, { expect: null })
  const second = await app.realtime.publish('games/1', 'move', { n: 2 }, { expect: first.id as string })
  await t.rejects(game.publish({ id: '1' }, 'move', { n: 3 }, { expect: first.id as string }), {
    code: 'FST_ERR_REALTIME_CONFLICT', statusCode: 409, last: second.id, message: /"games\/1" has a newer event: its last id is ".*"/
  })
  t.equal(await codeOf(async () => await game.publish({ id: '1' }, 'move', { n: 3 }, { expect: null })), 'FST_ERR_REALTIME_CONFLICT')
  t.same((await game.history({ id: '1' })).events.map(({ data }) => data), [{ n: 1 }, { n: 2 }])
  t.equal(app.realtime.stats().published, 2, 'what was not appended is not counted')
})

t.test('of two that have seen the same, one is heard', async (t) => {
  const app = await live(t)
  const game = app.topic('games/:id')
  const heard = game.subscribe({ id: '1' })
  const { id } = await heard.ready
  const answers = await Promise.allSettled(['white', 'black'].map(async (by) =>
    await game.publish({ id: '1' }, 'move', { by }, { expect: id as string })))
  t.same(answers.map(({ status }) => status), ['fulfilled', 'rejected'])
  const { value } = await heard.next()
  await game.publish({ id: '1' }, 'move', { by: 'black' }, { expect: value?.id as string })
  t.same([value?.data, (await heard.next()).value?.data], [{ by: 'white' }, { by: 'black' }])
})

t.test('a wrong expect is refused, and so is one where nothing is kept', async (t) => {
  const app = await live(t)
  const game = app.topic('games/:id')
  const loose = app.topic('loose', { history: false })
  for (const expect of ['', 5, {}, 'x'.repeat(300), 'a\nb', false]) {
    t.equal(await codeOf(async () => await game.publish({ id: '1' }, 'move', {}, { expect: expect as string })), 'FST_ERR_REALTIME_PUBLISH_OPTION')
  }
  for (const expect of [null, '1-0.x']) {
    t.equal(await codeOf(async () => await loose.publish({}, 'move', {}, { expect })), 'FST_ERR_REALTIME_PUBLISH_OPTION')
  }
  await loose.publish({}, 'move', {}, {})
  t.same((await game.history({ id: '1' })).events, [])
})
