/** Live auctions: bids both ways, a word for the one outbid only, and an end. */
import { Type } from 'typebox'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { AuctionNotFound, bid, due, end, reopen } from './auction.ts'
import { AuctionLog, type Outbid } from './auction-log.ts'
import { introducing, type Shop } from './node.ts'
import { requirePerson } from './session.ts'
import { PetAdopted, StoreAway } from './store.ts'

const AuctionParams = Type.Object({ auctionId: Type.String({ maxLength: 64 }) })

const lookEveryMs = 500
const dayMs = 24 * 60 * 60_000

export const auctions: FastifyPluginAsyncTypebox<Shop> = async (app, { store, node, auctionMs, pet }) => {
  const auction = app.topic('auctions/:auctionId', {
    events: {
      bid: Type.Object({ userId: Type.String(), amount: Type.Number() }),
      'auction-clock': Type.Object({ endsAt: Type.Integer() }),
      'auction-end': Type.Object({ winner: Type.Union([Type.String(), Type.Null()]) }),
      'auction-open': Type.Object({ startingPrice: Type.Number() })
    },
    // The auction is kept nowhere else. A node that starts reads it here, so it has to outlast any auction.
    history: { limit: 10_000, maxAge: dayMs, maxBytes: 2 ** 21 }
  })
  // One person in one auction: carried on the same channel, heard by nobody else.
  const bidder = app.topic('auctions/:auctionId/users/:userId', {
    events: { outbid: Type.Object({ newAmount: Type.Number() }) },
    // As long as a bid is kept it may be told again; so long is known what was told.
    history: { maxAge: dayMs }
  })

  const host = { topic: auction, tell }
  // There is one for each pet, under its id.
  const logs = new Map((await store.pets()).map(({ petId }) => [petId, new AuctionLog(petId, host)]))

  app.channel('/auctions/:auctionId', {
    schema: { params: AuctionParams },
    preHandler: [requirePerson, async request => {
      logOf((request.params as { auctionId: string }).auctionId)
    }],
    // The page shows: auction
    topics: ({ params: { auctionId }, person }) => [auction.at({ auctionId }), bidder.at({ auctionId, userId: person!.id })],
    messages: {
      bid: {
        schema: Type.Object({ amount: Type.Number({ exclusiveMinimum: 0, maximum: 1e9 }) }),
        async handler ({ amount }, { connection, params: { auctionId } }) {
          const log = logOf(auctionId)
          await requireBiddable(auctionId)
          const { endsAt } = await log.decide(auction => bid(auction, connection.identity.id, amount))
          if (endsAt === null) lookAt(auctionId, log)
        }
      },
      // The page shows: until here
      // For clients that speak the app's own JSON; those of fastify-realtime.v1 join the topic.
      watch: {
        schema: Type.Object({ petId: Type.String({ maxLength: 64 }) }),
        async handler ({ petId }, { connection }) {
          await store.pet(petId)
          await connection.subscribe(`pets/${petId}`)
        }
      }
    },
    subscribe: pet,
    ...introducing(node)
  })

  app.get('/v1/auctions/:auctionId', { schema: { params: AuctionParams } }, async request =>
    await logOf(request.params.auctionId).read())

  app.post('/v1/auctions/:auctionId/end', { schema: { params: AuctionParams } }, async request => {
    const log = logOf(request.params.auctionId)
    const adopted = await isAdopted(request.params.auctionId)
    return await log.decide(auction => end(auction, adopted))
  })

  app.post('/v1/auctions/:auctionId/open', { schema: { params: AuctionParams } }, async request => {
    const log = logOf(request.params.auctionId)
    await requireForSale(request.params.auctionId)
    return await log.decide(reopen)
  })

  // Every node looks: whichever was to start a clock, or to end an auction, may be gone.
  let clock: NodeJS.Timeout | undefined
  app.addHook('onReady', async () => {
    const look = (): void => { for (const [auctionId, log] of logs) lookAt(auctionId, log) }
    look()
    clock = setInterval(look, lookEveryMs)
  })
  app.addHook('onClose', async () => clearInterval(clock))

  const looking = new Set<AuctionLog>()

  /** One look at a time: while Redis is away each takes long. */
  function lookAt (auctionId: string, log: AuctionLog): void {
    if (looking.has(log)) return
    looking.add(log)
    Promise.all([bringForward(auctionId, log), log.tellAgain()])
      .catch(error => app.log.debug(error, 'could not look at an auction; trying again soon'))
      .finally(() => looking.delete(log))
  }

  async function bringForward (auctionId: string, log: AuctionLog): Promise<void> {
    const adopted = await isAdopted(auctionId)
    await log.decide(auction => due(auction, adopted, Date.now(), auctionMs))
  }

  async function isAdopted (petId: string): Promise<boolean> {
    return (await store.pet(petId)).status === 'ADOPTED'
  }

  /** An auction has the id of its pet. */
  async function requireForSale (petId: string): Promise<void> {
    const { status, petName } = await store.pet(petId)
    if (status === 'ADOPTED') throw new PetAdopted(petName)
  }

  /** A bid sells nothing: where the store cannot be asked, the end of the auction asks again. */
  async function requireBiddable (petId: string): Promise<void> {
    await requireForSale(petId).catch((error: unknown) => {
      if (!(error instanceof StoreAway)) throw error
    })
  }

  function logOf (auctionId: string): AuctionLog {
    const log = logs.get(auctionId)
    if (log === undefined) throw new AuctionNotFound(auctionId)
    return log
  }

  async function tell ({ auctionId, userId, newAmount, bidId }: Outbid): Promise<void> {
    await bidder.publish({ auctionId, userId }, 'outbid', { newAmount }, { dedupe: bidId })
  }
}
