/** Live auctions: bids both ways, a word for the one outbid only, and an end. */
import { Type } from 'typebox'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { requirePerson } from './session.ts'
import type { Auction, Store } from './store.ts'

const AuctionParams = Type.Object({ auctionId: Type.String({ maxLength: 64 }) })

export const auctions: FastifyPluginAsyncTypebox<{ store: Store }> = async (app, { store }) => {
  const auction = app.topic('auctions/:auctionId', {
    events: {
      bid: Type.Object({ userId: Type.String(), amount: Type.Number() }),
      'auction-end': Type.Object({ winner: Type.Union([Type.String(), Type.Null()]) }),
      'auction-open': Type.Object({ startingPrice: Type.Number() })
    }
  })
  // One person in one auction: carried on the same channel, heard by nobody else.
  const bidder = app.topic('auctions/:auctionId/users/:userId', {
    events: { outbid: Type.Object({ newAmount: Type.Number() }) }
  })
  const clocks = new Map<string, NodeJS.Timeout>()

  app.channel('/auctions/:auctionId', {
    schema: { params: AuctionParams },
    preHandler: [requirePerson, async request => {
      store.auction((request.params as { auctionId: string }).auctionId)
    }],
    topics: ({ params, person }) => [
      auction.at(params),
      bidder.at({ auctionId: params.auctionId, userId: person!.id })
    ],
    messages: {
      bid: {
        schema: Type.Object({ amount: Type.Number({ exclusiveMinimum: 0, maximum: 1e9 }) }),
        handler: ({ amount }, { connection, params }) => bid(params.auctionId, connection.identity.id, amount)
      },
      watch: {
        schema: Type.Object({ petId: Type.String({ maxLength: 64 }) }),
        handler: async ({ petId }, { connection }) => connection.subscribe(`pets/${store.pet(petId).petId}`)
      }
    }
  })

  app.get('/v1/auctions/:auctionId', { schema: { params: AuctionParams } }, async request =>
    store.auction(request.params.auctionId))

  app.post('/v1/auctions/:auctionId/end', { schema: { params: AuctionParams } }, async request =>
    end(request.params.auctionId))

  app.post('/v1/auctions/:auctionId/open', { schema: { params: AuctionParams } }, async request => {
    const opened = store.reopenAuction(request.params.auctionId)
    await auction.publish(request.params, 'auction-open', { startingPrice: opened.startingPrice })
    return opened
  })

  app.addHook('onClose', async () => {
    for (const clock of clocks.values()) clearTimeout(clock)
  })

  async function bid (auctionId: string, userId: string, amount: number): Promise<void> {
    const { outbid } = store.bid(auctionId, userId, amount)
    startClock(auctionId)
    // Nothing is awaited between the decision and these, so bids are published in the order they were decided.
    await Promise.all([
      auction.publish({ auctionId }, 'bid', { userId, amount }),
      outbid === null ? undefined : bidder.publish({ auctionId, userId: outbid }, 'outbid', { newAmount: amount })
    ])
  }

  async function end (auctionId: string): Promise<Auction> {
    const ended = store.endAuction(auctionId)
    clearTimeout(clocks.get(auctionId))
    clocks.delete(auctionId)
    await auction.publish({ auctionId }, 'auction-end', { winner: ended.leader })
    return ended
  }

  function startClock (auctionId: string): void {
    if (clocks.has(auctionId)) return
    const clock = setTimeout(() => {
      end(auctionId).catch(error => app.log.error(error, 'the auction did not end'))
    }, store.auctionMs)
    clocks.set(auctionId, clock.unref())
  }
}
