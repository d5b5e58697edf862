/** Live auctions: bids both ways, a word for the one outbid only, and an end. */
import { Type } from 'typebox'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { introducing, type Shop } from './node.ts'
import { requirePerson } from './session.ts'
import type { AuctionChange } from './store.ts'

const AuctionParams = Type.Object({ auctionId: Type.String({ maxLength: 64 }) })

const lookEveryMs = 500

export const auctions: FastifyPluginAsyncTypebox<Shop> = async (app, { store, node }) => {
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

  app.channel('/auctions/:auctionId', {
    schema: { params: AuctionParams },
    preHandler: [requirePerson, async request => {
      await store.auction((request.params as { auctionId: string }).auctionId)
    }],
    topics: ({ params, person }) => [
      auction.at(params),
      bidder.at({ auctionId: params.auctionId, userId: person!.id })
    ],
    messages: {
      bid: {
        schema: Type.Object({ amount: Type.Number({ exclusiveMinimum: 0, maximum: 1e9 }) }),
        async handler ({ amount }, { connection, params: { auctionId } }) {
          await store.bid(auctionId, connection.identity.id, amount)
          await tell(auctionId)
        }
      },
      watch: {
        schema: Type.Object({ petId: Type.String({ maxLength: 64 }) }),
        async handler ({ petId }, { connection }) {
          await store.pet(petId)
          await connection.subscribe(`pets/${petId}`)
        }
      }
    },
    ...introducing(node)
  })

  app.get('/v1/auctions/:auctionId', { schema: { params: AuctionParams } }, async request =>
    await store.auction(request.params.auctionId))

  app.post('/v1/auctions/:auctionId/end', { schema: { params: AuctionParams } }, async request => {
    const ended = await store.endAuction(request.params.auctionId)
    await tell(request.params.auctionId)
    return ended
  })

  app.post('/v1/auctions/:auctionId/open', { schema: { params: AuctionParams } }, async request => {
    const opened = await store.reopenAuction(request.params.auctionId)
    await tell(request.params.auctionId)
    return opened
  })

  // Every node looks: whichever was to end an auction, or to tell of a bid, may be gone.
  const clock = setInterval(() => {
    look().catch(error => app.log.debug(error, 'another look is taken soon'))
  }, lookEveryMs)
  app.addHook('onClose', async () => clearInterval(clock))

  async function look (): Promise<void> {
    for (const auctionId of await store.endDue()) await tell(auctionId)
  }

  const telling = new Map<string, Promise<void>>()

  /** Tells what was decided and not told yet; one round after the other on this node. */
  async function tell (auctionId: string): Promise<void> {
    const before = telling.get(auctionId) ?? Promise.resolve()
    const round = before.catch(() => {}).then(() => tellInOrder(auctionId))
    telling.set(auctionId, round)
    await round
  }

  /**
   * The oldest first, and the next one only when it is told: so bids are heard in the order they were decided. Two nodes
   * may tell the same at once, or one what another told before it died; under the change's own id the topic takes it once.
   */
  async function tellInOrder (auctionId: string): Promise<void> {
    for (const change of await store.untold(auctionId)) {
      await publish(auctionId, change)
      await store.told(auctionId, change.id)
    }
  }

  async function publish (auctionId: string, change: AuctionChange): Promise<void> {
    const once = { dedupe: change.id }
    if (change.event === 'auction-end') {
      await auction.publish({ auctionId }, 'auction-end', { winner: change.winner }, once)
    } else if (change.event === 'auction-open') {
      await auction.publish({ auctionId }, 'auction-open', { startingPrice: change.startingPrice }, once)
    } else {
      const { userId, amount, outbid } = change
      await auction.publish({ auctionId }, 'bid', { userId, amount }, once)
      if (outbid !== null) await bidder.publish({ auctionId, userId: outbid }, 'outbid', { newAmount: amount }, once)
    }
  }
}
