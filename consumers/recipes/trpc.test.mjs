import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { createTRPCClient, httpLink, httpSubscriptionLink, splitLink } from '@trpc/client'
import { EventSource } from 'eventsource'
import { app } from '../../.cache/full/recipes/trpc.mjs'
import { collector, cutter, heard, nothingLeft } from './helper.mjs'

const url = `${app.listeningOrigin}/trpc`
const cut = cutter(app)
const client = createTRPCClient({
  links: [splitLink({
    condition: ({ type }) => type === 'subscription',
    true: httpSubscriptionLink({ url, EventSource }),
    false: httpLink({ url })
  })]
})

after(() => app.close())

const say = (status) => client.setStatus.mutate({ orderId: '42', status })

function follow (orderId) {
  const [items, errors] = [collector(), collector()]
  const subscription = client.onOrder.subscribe({ orderId }, {
    onData: ({ data: { event, data } }) => items.add(data?.status ?? event),
    onError: (error) => errors.add(error.data.code)
  })
  return { items, errors, subscription }
}

test('a client that is cut gets each event once and in order', async () => {
  const { items, errors, subscription } = follow('42')
  assert.deepEqual(await items.take(1), ['realtime:ready'])
  await say('paid')
  await say('packed')
  assert.deepEqual(await items.take(2), ['paid', 'packed'])

  cut()
  await nothingLeft(app)
  await say('sent')
  await say('near')
  await heard(app)
  await say('there')
  assert.deepEqual(await items.take(3), ['sent', 'near', 'there'])

  subscription.unsubscribe()
  await nothingLeft(app)
  assert.equal(items.waiting + errors.waiting, 0)
})

test('a client that is cut before its first event misses none', async () => {
  const { items, subscription } = follow('42')
  assert.deepEqual(await items.take(1), ['realtime:ready'])
  cut()
  await nothingLeft(app)
  await say('lost')
  await say('found')
  assert.deepEqual(await items.take(2), ['lost', 'found'])
  subscription.unsubscribe()
  await nothingLeft(app)
})

test('a refusal is told, and not tried again', async () => {
  const { items, errors } = follow('secret')
  assert.deepEqual(await errors.take(1), ['FORBIDDEN'])
  await nothingLeft(app)
  assert.equal(items.waiting, 0)
})
