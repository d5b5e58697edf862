/** A client that does not read costs no more than it may, and delays nobody. */
import type { Connection } from '../types/connection.ts'
import type { House, WireClient, WireStory } from './wire-house.ts'

const KIB = 1024
const live = { maxBuffered: 200 * KIB }
const load = 'x'.repeat(60 * KIB)

/** Publishes, each time until the quick client has it, until `enough`. */
async function flood (
  { publish }: House, quick: WireClient, slow: Connection, enough: () => boolean
): Promise<{ published: number, most: number }> {
  let most = 0
  let published = 0
  for (; !enough() && published < 2000; published++) {
    await publish('tick', { n: published, load }, { key: published % 2 === 0 ? 'even' : 'odd' })
    await quick.next('tick')
    most = Math.max(most, slow.buffered)
  }
  return { published, most }
}

/** The numbers of those that came. */
function ticksOf (client: WireClient): number[] {
  return client.heard().filter(({ event }) => event === 'tick').map(({ data }) => (data as { n: number }).n)
}

export const slowClients: WireStory = {
  'slow "close": a client that does not read is let go at maxBuffered, and delays nobody': async (t, { open }) => {
    const house = await open(t, { ...live, slow: 'close' })
    const [quick, slow] = [await house.enter(), await house.enter()]
    slow.client.pause()
    const { most } = await flood(house, quick.client, slow.connection, () => slow.connection.closed)
    t.equal(slow.connection.closed, true)
    t.ok(most > 0 && most <= live.maxBuffered, `${most} bytes waited at most`)
    t.match(
      await house.departures.take(),
      { connection: slow.connection, reason: { name: 'slow-client', code: 4409, reconnect: true } }
    )
    t.match(house.app.realtime.stats(), { slowClosed: 1, subscriptions: 1 })
    slow.client.resume()
    await slow.client.ended
    await house.publish('sentinel', {})
    await quick.client.next('sentinel')
    t.equal(quick.connection.closed, false)
  },

  'slow "latest": a client that does not read gets the newest of each name and key, and delays nobody': async (
    t, { open }
  ) => {
    const house = await open(t, { ...live, slow: 'latest' })
    const [quick, slow] = [await house.enter(), await house.enter()]
    slow.client.pause()
    const enough = (): boolean => house.app.realtime.stats().dropped >= 20
    const { published, most } = await flood(house, quick.client, slow.connection, enough)
    t.ok(most > 0 && most <= live.maxBuffered, `${most} bytes waited at most`)
    await house.publish('end', {})
    slow.client.resume()
    await slow.client.next('end')
    const heard = ticksOf(slow.client)
    t.ok(heard.length < published, `${heard.length} of ${published} events came`)
    t.same(heard.slice(-2), [published - 2, published - 1], 'the newest of both keys')
    t.same(heard, [...heard].sort((a, b) => a - b), 'in order')
    t.equal(slow.connection.closed, false)
    await house.publish('tick', { n: -1 })
    let last: unknown
    while ((last as { n?: number } | undefined)?.n !== -1) last = (await slow.client.next('tick')).data
  },

  'slow "reset": a client that does not read is told what it missed, and delays nobody': async (t, { open }) => {
    const house = await open(t, { ...live, slow: 'reset' })
    const [quick, slow] = [await house.enter(), await house.enter()]
    slow.client.pause()
    const enough = (): boolean => house.app.realtime.stats().dropped >= 20
    const { published, most } = await flood(house, quick.client, slow.connection, enough)
    t.ok(most > 0 && most <= live.maxBuffered, `${most} bytes waited at most`)
    slow.client.resume()
    t.match(JSON.stringify((await slow.client.next('realtime:reset')).data), /slow/)
    const heard = ticksOf(slow.client)
    t.same(heard, heard.map((_, i) => i), 'what came before is without a gap')
    t.ok(heard.length < published)
    await house.publish('sentinel', {})
    t.equal((await slow.client.next('sentinel')).event, 'sentinel', 'it goes on')
    t.equal(slow.client.heard().filter(({ event }) => event === 'realtime:reset').length, 1)
    t.equal(slow.connection.closed, false)
  },

  'slow "replay": a client that does not read gets everything when it reads again, and delays nobody': async (
    t, { open }
  ) => {
    const house = await open(t, { ...live, slow: 'replay' }, { history: { maxBytes: 1 << 30 } })
    const [quick, slow] = [await house.enter(), await house.enter()]
    slow.client.pause()
    let left = 200
    const { published, most } = await flood(house, quick.client, slow.connection, () => left-- === 0)
    t.ok(most > 0 && most <= live.maxBuffered, `${most} bytes waited at most`)
    slow.client.resume()
    await house.publish('end', {})
    await slow.client.next('end')
    t.same(ticksOf(slow.client), Array.from({ length: published }, (_, n) => n))
    t.same(slow.client.heard().filter(({ event }) => event === 'realtime:reset'), [])
    t.equal(slow.connection.closed, false)
    t.match(house.app.realtime.stats(), { dropped: 0, resets: 0 })
  }
}
