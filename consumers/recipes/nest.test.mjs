import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { EventSource } from 'eventsource'
import { from } from 'rxjs'
import { FASTIFY, ORDERS, nest, observe } from '../../.cache/full/recipes/nest.js'
import { collector, cutter, heard, nothingLeft } from './helper.mjs'

const app = nest.get(FASTIFY, { strict: false })
const orders = nest.get(ORDERS, { strict: false })
const cut = cutter(app)
const origin = app.listeningOrigin

after(() => nest.close())

/** Over no socket: those are cut. */
async function setStatus (status) {
  const { statusCode } = await app.inject({ method: 'PUT', url: '/orders/42/status', payload: { status } })
  assert.equal(statusCode, 200)
}

function listen (orderId) {
  const source = new EventSource(`${origin}/orders/${orderId}/events`)
  const items = collector()
  source.addEventListener('realtime:ready', ({ type }) => items.add(type))
  source.addEventListener('realtime:reset', ({ type }) => items.add(type))
  source.addEventListener('status', ({ data }) => items.add(JSON.parse(data).status))
  return { source, items }
}

test('a client that is cut gets each event once and in order, and leaves nothing behind', async () => {
  const { source, items } = listen('42')
  assert.deepEqual(await items.take(1), ['realtime:ready'])
  cut()
  await nothingLeft(app)
  await setStatus('paid')
  await setStatus('packed')
  assert.deepEqual(await items.take(2), ['paid', 'packed'])
  await setStatus('sent')
  assert.deepEqual(await items.take(1), ['sent'])

  cut()
  await nothingLeft(app)
  await setStatus('near')
  await heard(app)
  await setStatus('there')
  assert.deepEqual(await items.take(2), ['near', 'there'])

  source.close()
  await nothingLeft(app)
  assert.equal(items.waiting, 0)
})

test('whoever is told to come back does, and has missed nothing', async () => {
  const { source, items } = listen('42')
  assert.deepEqual(await items.take(1), ['realtime:ready'])
  await app.realtime.disconnect({ topic: orders.at({ orderId: '42' }) }, { reconnect: true })
  await setStatus('missed')
  assert.deepEqual(await items.take(1), ['missed'])
  source.close()
  await nothingLeft(app)
})

test('a refusal is an HTTP status', async () => {
  const response = await fetch(`${origin}/orders/secret/events`)
  await response.text()
  assert.equal(response.status, 403)
  await nothingLeft(app)
})

test('the teardown ends the subscription at once, where that of from() waits for an event', async () => {
  const ours = (await observe(orders.subscribe({ orderId: '42' }))).subscribe()
  assert.equal(app.realtime.stats().connections.process, 1)
  ours.unsubscribe()
  assert.equal(app.realtime.stats().connections.process, 0)

  const items = orders.subscribe({ orderId: '42' })
  const theirs = from(items).subscribe()
  await items.ready
  theirs.unsubscribe()
  await new Promise(setImmediate)
  assert.equal(app.realtime.stats().connections.process, 1)
  await setStatus('the next')
  await nothingLeft(app)
})
