/** An adopted pet is not sold again: by whatever way, and also where two nodes sell it at the same moment. */
import t, { type Test } from 'tap'
import { fetch } from 'undici'
import { buildApp, type PetStoreOptions } from '../examples/petstore/app.ts'
import { Bidder } from './helpers/auction.ts'
import { RedisServer } from './helpers/redis.ts'

t.setTimeout(120_000)

const petId = '019b4127'

async function start (t: Test, options: PetStoreOptions = {}) {
  const app = await buildApp(options)
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  t.teardown(() => app.close())
  const send = async (method: string, path: string, body: object = {}) => {
    const response = await fetch(url + path, { method, headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) })
    return { status: response.status, body: await response.json() as Record<string, unknown> }
  }
  const eventsOf = async (topic: string) => (await app.realtime.history(topic, { limit: 1000 })).events
  return { url, send, eventsOf }
}

type Node = Awaited<ReturnType<typeof start>>

const houses: Record<string, (t: Test) => Promise<[Node, Node]>> = {
  async 'one node' (t) {
    const node = await start(t)
    return [node, node]
  },
  async 'two nodes' (t) {
    const { url: redisUrl } = await RedisServer.start(t)
    return await Promise.all([start(t, { redisUrl }), start(t, { redisUrl })])
  }
}

for (const [name, open] of Object.entries(houses)) {
  t.test(`${name}: of twenty who adopt a pet at the same moment one gets it`, async t => {
    const nodes = await open(t)
    const people = Array.from({ length: 20 }, (_, n) => `person-${n}`)
    const answers = await Promise.all(people.map(async (userId, n) => await nodes[n % 2]!.send('POST', `/v1/pets/${petId}/adopt`, { userId })))
    const winners = people.filter((_, n) => answers[n]!.status === 200)
    t.equal(winners.length, 1)
    for (const { status, body } of answers) t.ok(status === 200 || (status === 409 && body.code === 'PET_ADOPTED'))

    const told = await Promise.all(people.map(async userId => (await nodes[0].eventsOf(`users/${userId}/notifications`)).length))
    t.same(people.filter((_, n) => told[n] !== 0), winners, 'and nobody else is told to have it')
    t.equal((await nodes[1].eventsOf('pets')).filter(({ event }) => event === 'status-change').length, 1)
  })

  t.test(`${name}: an adoption and a new status at the same moment leave it adopted`, async t => {
    const [a, b] = await open(t)
    const changes = Array.from({ length: 10 }, async (_, n) => await b.send('PATCH', `/v1/pets/${petId}`, { status: n % 2 ? 'PENDING' : 'AVAILABLE' }))
    const adopted = await a.send('POST', `/v1/pets/${petId}/adopt`, { userId: 'ada' })
    t.equal(adopted.status, 200)
    for (const { status } of await Promise.all(changes)) t.ok(status === 200 || status === 409)
    const { pets } = await (await fetch(`${b.url}/v1/pets`)).json() as { pets: Array<{ petId: string, status: string }> }
    t.equal(pets.find(pet => pet.petId === petId)?.status, 'ADOPTED')
  })

  t.test(`${name}: no way leads past an adoption`, async t => {
    const [a, b] = await open(t)
    const ada = await Bidder.open(t, a.url, petId, 'ada')
    t.equal(await ada.bid(50), 'accepted')
    t.equal((await a.send('POST', `/v1/pets/${petId}/adopt`, { userId: 'ben' })).status, 200)

    const refused: Array<[string, string, object]> = [
      ['POST', `/v1/pets/${petId}/adopt`, { userId: 'ada' }],
      ['POST', `/v1/pets/${petId}/adopt`, { userId: 'ben' }],
      ['PATCH', `/v1/pets/${petId}`, { status: 'AVAILABLE' }],
      ['PATCH', `/v1/pets/${petId}`, { status: 'ADOPTED' }],
      ['PATCH', `/v1/pets/${petId}`, { price: 1 }],
      ['POST', '/v1/orders', { userId: 'ada', petId }],
      ['POST', `/v1/auctions/${petId}/open`, {}]
    ]
    for (const node of [a, b]) {
      for (const [method, path, body] of refused) {
        t.match(await node.send(method, path, body), { status: 409, body: { code: 'PET_ADOPTED' } }, `${method} ${path} ${JSON.stringify(body)}`)
      }
    }
    t.same(await (await Bidder.open(t, b.url, petId, 'cleo')).bid(60), { refused: 'PET_ADOPTED' })
    t.match(await ada.find(({ event }) => event === 'auction-end'), { data: { winner: null } }, 'the auction ends, and nobody wins it')
    t.match(await (await fetch(`${b.url}/v1/auctions/${petId}`)).json(), { over: true, leader: null })
  })
}
