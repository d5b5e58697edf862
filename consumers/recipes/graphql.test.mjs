import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { createClient as createSseClient } from 'graphql-sse'
import { createClient as createWebSocketClient } from 'graphql-ws'
import { WebSocket } from 'ws'
import { app } from '../../.cache/full/recipes/graphql.mjs'
import { app as behindPubsub } from '../../.cache/full/recipes/graphql-pubsub.mjs'
import { collector, cutter, heard, nothingLeft, until } from './helper.mjs'

const cut = cutter(app)
const apps = [app, behindPubsub]

/**
 * Neither client waits before it comes back. A socket stays open after its last subscription: what is gone then is not gone
 * because of the socket.
 */
const overWebSocket = ({ listeningOrigin }) => createWebSocketClient({
  url: `${listeningOrigin.replace('http', 'ws')}/graphql`, webSocketImpl: WebSocket, lazy: false, retryWait: async () => {}, retryAttempts: 1000
})
const overSse = ({ listeningOrigin }) => createSseClient({
  url: `${listeningOrigin}/graphql/stream`, retry: async () => {}, retryAttempts: 1000
})

after(() => Promise.all(apps.map((app) => app.close())))

/** Over no socket: those are cut. */
async function setStatus (app, status) {
  const response = await app.inject({
    method: 'POST', url: '/graphql', payload: { query: `mutation { setStatus(orderId: "42", status: "${status}") }` }
  })
  assert.equal(response.json().errors, undefined)
}

function listen (client, query, variables = {}) {
  const [items, errors] = [collector(), collector()]
  const unsubscribe = client.subscribe({ query, variables }, {
    next ({ data, errors: refused }) {
      if (refused) return errors.add(refused[0].message)
      items.add(data.onOrder.status ?? data.onOrder.event)
      items.last = data.onOrder.id
    },
    error: (error) => errors.add([error].flat()[0].message),
    complete () {}
  })
  return { items, errors, unsubscribe }
}

function follow (client, orderId) {
  const variables = { orderId, get after () { return followed.items.last } }
  const query = 'subscription ($orderId: ID!, $after: ID) { onOrder(orderId: $orderId, after: $after) { id event status } }'
  const followed = { items: {} }
  return Object.assign(followed, listen(client, query, variables))
}

for (const [name, connect] of Object.entries({ 'graphql-ws': overWebSocket, 'graphql-sse': overSse })) {
  test(`${name}: a client that is cut gets each event once and in order, and leaves nothing behind`, async () => {
    const client = connect(app)
    const { items, errors, unsubscribe } = follow(client, '42')
    assert.deepEqual(await items.take(1), ['realtime:ready'])
    cut()
    await setStatus(app, 'paid')
    await setStatus(app, 'packed')
    assert.deepEqual(await items.take(2), ['paid', 'packed'])
    cut()
    await setStatus(app, 'sent')
    await setStatus(app, 'there')
    assert.deepEqual(await items.take(2), ['sent', 'there'])

    unsubscribe()
    await nothingLeft(app)
    assert.equal(items.waiting + errors.waiting, 0)
    await client.dispose()
  })

  test(`${name}: whoever is told to come back does, and has missed nothing`, async () => {
    const client = connect(app)
    const { items, errors, unsubscribe } = follow(client, '42')
    assert.deepEqual(await items.take(1), ['realtime:ready'])
    await app.realtime.disconnect({ topic: 'orders/42' }, { reconnect: true })
    await setStatus(app, 'missed')
    assert.deepEqual(await items.take(1), ['missed'])
    unsubscribe()
    await nothingLeft(app)
    assert.equal(items.waiting + errors.waiting, 0)
    await client.dispose()
  })

  test(`${name}: a refusal is told`, async () => {
    const client = connect(app)
    const { items, errors } = follow(client, 'secret')
    assert.match((await errors.take(1))[0], /secret/)
    await nothingLeft(app)
    assert.equal(items.waiting, 0)
    await client.dispose()
  })
}

test('one of two subscriptions on a socket ends, and leaves the other', async () => {
  const client = overWebSocket(app)
  const [one, other] = [follow(client, '42'), follow(client, '42')]
  await Promise.all([one.items.take(1), other.items.take(1)])
  one.unsubscribe()
  await until(() => app.realtime.stats().connections.process === 1)
  await setStatus(app, 'paid')
  assert.deepEqual(await other.items.take(1), ['paid'])
  other.unsubscribe()
  await nothingLeft(app)
  await client.dispose()
})

test('behind the pubsub: filtered, refused, and nothing is left', async () => {
  const client = overWebSocket(behindPubsub)
  const query = (orderId) => `subscription { onOrder(orderId: "${orderId}", not: "packed") { id event status } }`
  const refused = listen(client, query('secret'))
  assert.match((await refused.errors.take(1))[0], /secret/)

  const { items, errors, unsubscribe } = listen(client, query('42'))
  await heard(behindPubsub)
  for (const status of ['paid', 'packed', 'sent']) await setStatus(behindPubsub, status)
  assert.deepEqual(await items.take(2), ['paid', 'sent'])
  unsubscribe()
  await nothingLeft(behindPubsub)
  assert.equal(items.waiting + errors.waiting, 0)
  await client.dispose()
})
