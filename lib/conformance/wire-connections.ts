/** Clients come, join and leave topics, and go: the app is told of each, once. */
import { setImmediate as turn } from 'node:timers/promises'
import type { Connection } from '../types/connection.ts'
import { Arrivals } from './arrivals.ts'
import { connectionsOf, TOPIC, type WireStory } from './wire-house.ts'

export const connections: WireStory = {
  'connection.close ends this client alone': async (t, { open }) => {
    const { publish, departures, enter } = await open(t)
    const [one, other] = [await enter(), await enter()]
    one.connection.close()
    one.connection.close()
    await one.client.ended
    t.match(
      await departures.take(),
      { connection: one.connection, reason: { name: 'closed-by-app', code: 1000, reconnect: false } }
    )
    t.equal(one.connection.closed, true)
    one.connection.send('late', {})
    await t.rejects(one.connection.subscribe('rooms/2'), { code: 'FST_ERR_REALTIME_CONNECTION_CLOSED' })
    await publish('sentinel', {})
    await other.client.next('sentinel')
    t.same(one.client.heard().filter(({ event }) => event === 'late'), [])
    t.equal(departures.all.length, 1)
  },

  'an async onConnect is waited for: what it sends comes first, what was published meanwhile not at all': async (
    t, { open, connect }
  ) => {
    let accept = (): void => {}
    const accepted = new Promise<void>((resolve) => { accept = resolve })
    const arrived = new Arrivals<Connection>()
    const { app, publish } = await open(t, {
      async onConnect (connection) {
        connection.send('early', { n: 1 })
        arrived.push(connection)
        await accepted
        connection.send('early', { n: 2 })
      }
    })
    const coming = connect(t, app)
    const connection = await arrived.take()
    t.same(connection.topics, [], 'it hears nothing yet')
    await publish('missed', {})
    accept()
    const client = await coming
    t.same(await client.next(), { event: 'early', data: { n: 1 } })
    t.same(await client.next(), { event: 'early', data: { n: 2 } })
    await client.next('ready')
    await publish('live', {})
    t.equal((await client.next()).event, 'live')
    t.same(connection.topics, [TOPIC])
  },

  'onConnect may join topics, and refuse': async (t, { open, connect }) => {
    const refusal = Object.assign(new Error('not today'), { statusCode: 403 })
    let refuses = false
    const { app, departures, enter } = await open(t, {
      async onConnect (connection) {
        if (refuses) throw refusal
        await connection.subscribe('rooms/2')
      }
    })
    const { client, connection } = await enter()
    t.same(connection.topics, [TOPIC, 'rooms/2'])
    await app.realtime.publish('rooms/2', 'there', {})
    await client.next('there')
    refuses = true
    await t.rejects(connect(t, app).then((one) => one.next('ready')), 'a client that is refused hears nothing')
    await client.leave()
    await departures.take()
    t.equal(departures.all.length, 1, 'onDisconnect is for those who were accepted')
    t.same(connectionsOf(app), [])
  },

  'a client that leaves while onConnect runs is gone, and onDisconnect runs once': async (
    t, { open, connect, cutNext }
  ) => {
    let accept = (): void => {}
    const accepted = new Promise<void>((resolve) => { accept = resolve })
    const arrived = new Arrivals<Connection>()
    const { app, departures } = await open(t, {
      async onConnect (connection) {
        arrived.push(connection)
        await accepted
      }
    })
    const cut = cutNext(app)
    connect(t, app).then((client) => client.ended, () => {})
    const connection = await arrived.take()
    const { signal } = connection
    const over = new Promise((resolve) => signal.addEventListener('abort', resolve))
    await cut()
    await over
    accept()
    t.equal((await departures.take()).connection, connection)
    await turn()
    t.equal(departures.all.length, 1)
    t.match(app.realtime.stats(), { connections: { sse: 0, websocket: 0, process: 0 }, subscriptions: 0 })
  },

  'onDisconnect runs once, whoever ends the connection; its signal is aborted, and nothing is left': async (
    t, { open, cutNext }
  ) => {
    const { app, departures, enter } = await open(t)
    const cutFirst = cutNext(app)
    const cut = await enter()
    const [left, closed, stays] = [await enter(), await enter(), await enter()]
    const all = [cut, left, closed, stays]
    let aborts = 0
    for (const { connection } of all) {
      t.equal(connection.signal.aborted, false)
      connection.signal.addEventListener('abort', () => { aborts++ })
    }
    t.match(app.realtime.stats(), { subscriptions: 4, topics: 1 })
    t.equal(app.realtime.countLocal(TOPIC), 4)
    await cutFirst()
    await left.client.leave()
    closed.connection.close({ text: 'enough' })
    const three = [await departures.take(), await departures.take(), await departures.take()]
    const gone = [cut, left, closed].map(({ connection }) => connection)
    t.same(new Set(three.map(({ connection }) => connection)), new Set(gone))
    t.equal(three.find(({ connection }) => connection === closed.connection)?.reason.text, 'enough')
    t.same(connectionsOf(app), [stays.connection])
    t.equal(app.realtime.countLocal(TOPIC), 1)
    await Promise.all([app.close(), stays.client.ended])
    t.match(
      await departures.take(),
      { connection: stays.connection, reason: { name: 'shutting-down', code: 1012, reconnect: true } }
    )
    t.equal(departures.all.length, 4)
    t.equal(aborts, 4)
    for (const { connection } of all) {
      t.match(connection, { closed: true, topics: [], signal: { aborted: true } })
    }
    t.match(app.realtime.stats(), { connections: { sse: 0, websocket: 0, process: 0 }, subscriptions: 0, topics: 0 })
  },

  'topics are joined and left at run time': async (t, { open }) => {
    const { app, publish, enter } = await open(t)
    const [{ client, connection }, other] = [await enter(), await enter()]
    await publish('first', {})
    await connection.subscribe('rooms/2')
    await connection.subscribe('rooms/2')
    await connection.subscribe('halls/1')
    t.same(connection.topics, [TOPIC, 'rooms/2', 'halls/1'])
    t.same(other.connection.topics, [TOPIC])
    await app.realtime.publish('rooms/2', 'second', {})
    await app.realtime.publish('halls/1', 'third', {})
    await turn()
    const heard = [await client.next(), await client.next(), await client.next()]
    t.same(heard.map(({ event }) => event), ['first', 'second', 'third'])
    connection.unsubscribe('rooms/2')
    connection.unsubscribe('rooms/2')
    t.equal(app.realtime.countLocal('rooms/2'), 0)
    await app.realtime.publish('rooms/2', 'unheard', {})
    await turn()
    await publish('fourth', {})
    t.equal((await client.next()).event, 'fourth')
    connection.unsubscribe(TOPIC)
    await publish('unheard', {})
    await turn()
    await app.realtime.publish('halls/1', 'fifth', {})
    t.equal((await client.next()).event, 'fifth')
    await connection.subscribe(TOPIC)
    await publish('sixth', {})
    t.equal((await client.next()).event, 'sixth', 'joined anew, from now on')
    await t.rejects(connection.subscribe('nowhere/1'), { code: 'FST_ERR_REALTIME_TOPIC_UNKNOWN' })
  }
}
