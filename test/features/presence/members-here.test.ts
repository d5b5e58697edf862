/** The members of one topic on one node: what the store is told, and when nothing is left of them. */
import t from 'tap'
import type { Holding, MemberStore } from '../../../lib/core/adapter.ts'
import { MembersHere } from '../../../lib/features/presence/members-here.ts'
import { memberTopicOf } from '../../helpers/members.ts'

function start (grace: number) {
  const told: string[] = []
  let empty = 0
  const store: MemberStore = {
    settle: 0,
    watch: () => {},
    hold: (_topic, id, holding: Holding) => told.push(holding.is === 'there' ? `${id} ${holding.shows} ${holding.data}` : `${id} ${holding.reason}`),
    doubt: () => {},
    held: async () => {}
  }
  const here = new MembersHere(store, memberTopicOf('rooms/1', { grace }), () => { empty++ })
  return { here, told, get empty () { return empty } }
}

t.test('the first connection of a member is told, and what changes of it; the others are not', async (t) => {
  const { here, told } = start(0)
  const [one, two] = [{}, {}]
  here.enter(one, { id: 'ada', info: '{"n":1}' })
  here.enter(two, { id: 'ada', info: '{"n":1}' })
  here.enter(one, { id: 'ada', info: '{"n":2}' })
  t.equal(here.update('ada', '{"typing":true}'), true)
  t.equal(here.update('bob', '{}'), false)
  t.same(told, [
    'ada theirs {"id":"ada","info":{"n":1}}',
    'ada ours {"id":"ada","info":{"n":2}}',
    'ada ours {"id":"ada","info":{"n":2},"state":{"typing":true}}'
  ])
})

t.test('with its last connection a member is gone: at once where it left by itself, else after the grace', async (t) => {
  const at = start(60_000)
  const { here, told } = at
  const [one, two] = [{}, {}]
  here.enter(one, { id: 'ada', info: undefined })
  here.enter(two, { id: 'bob', info: undefined })
  here.leave({}, 'ada', 'left')
  here.leave(one, 'ada', 'removed')
  here.leave(two, 'bob', 'lost')
  t.same(told.slice(2), ['ada removed'], 'one that may come back is waited for')
  t.equal(at.empty, 0)
  here.enter(one, { id: 'bob', info: undefined })
  here.leave(one, 'bob', 'left')
  t.same(told.slice(3), ['bob left'])
  t.equal(at.empty, 1)
})

t.test('when the grace of the last one is over, nothing is left', async (t) => {
  const { here, told } = start(5)
  const one = {}
  // The timer of a grace keeps no process alive.
  const alive = setInterval(() => {}, 1000)
  t.teardown(() => clearInterval(alive))
  await new Promise<void>((resolve) => {
    const kept = new MembersHere({ settle: 0, watch: () => {}, hold: () => {}, doubt: () => {}, held: async () => {} }, memberTopicOf('rooms/2', { grace: 5 }), resolve)
    kept.enter(one, { id: 'ada', info: undefined })
    kept.leave(one, 'ada', 'lost')
  })
  here.enter(one, { id: 'ada', info: undefined })
  here.leave(one, 'ada', 'lost')
  here.close()
  t.equal(told.length, 1, 'a node that closes says nothing of its members')
})
