/** What an auction is: the sum of its events. Plain functions, so that every node comes to the same. */
import createError from '@fastify/error'

export interface Auction {
  auctionId: string
  startingPrice: number
  amount: number | null
  leader: string | null
  /** When it ends, ms since 1970; null until the first bid has started the clock. */
  endsAt: number | null
  over: boolean
}

/** The events of an auction's topic. */
export interface AuctionEvents {
  bid: { userId: string, amount: number }
  /** Apart from the bid that starts it: what a bid looks like is agreed with clients that are not ours. */
  'auction-clock': { endsAt: number }
  'auction-end': { winner: string | null }
  'auction-open': { startingPrice: number }
}

export type AuctionEvent = { [K in keyof AuctionEvents]: { event: K, data: AuctionEvents[K] } }[keyof AuctionEvents]

export const AuctionNotFound = createError('AUCTION_NOT_FOUND', 'There is no auction %s', 404)
export const BidTooLow = createError('BID_TOO_LOW', 'A bid must be %s', 409)
export const AuctionOver = createError('AUCTION_OVER', 'This auction is over', 409)
export const AuctionRuns = createError('AUCTION_RUNS', 'This auction is still open', 409)
export const AuctionBusy = createError('AUCTION_BUSY', 'Others were faster each time; try again', 503)

export function freshAuction (auctionId: string): Auction {
  return { auctionId, startingPrice: 10, amount: null, leader: null, endsAt: null, over: false }
}

export function after (auction: Auction, { event, data }: AuctionEvent): Auction {
  switch (event) {
    case 'bid':
      // Behind an end too: the node that took it found no history any more, and to it the auction was as new.
      return { ...(auction.over ? freshAuction(auction.auctionId) : auction), leader: data.userId, amount: data.amount }
    case 'auction-clock': return { ...auction, endsAt: data.endsAt }
    case 'auction-end': return { ...auction, leader: data.winner, over: true }
    case 'auction-open': return { ...freshAuction(auction.auctionId), startingPrice: data.startingPrice }
    default: return auction
  }
}

/** Who was in the lead until this event, and is not any more. */
export function outbidBy ({ leader, over }: Auction, { event, data }: AuctionEvent): string | undefined {
  if (event !== 'bid' || leader === null || over || leader === data.userId) return undefined
  return leader
}

// --- what may come next --------------------------------------------------------------

/** @throws BidTooLow, AuctionOver */
export function bid ({ over, amount: highest, startingPrice }: Auction, userId: string, amount: number): AuctionEvent {
  if (over) throw new AuctionOver()
  if (highest === null && amount < startingPrice) throw new BidTooLow(`at least ${startingPrice}`)
  if (highest !== null && amount <= highest) throw new BidTooLow(`more than ${highest}`)
  return { event: 'bid', data: { userId, amount } }
}

/** `adopted`: the pet is somebody's already, so nobody wins it. @throws AuctionOver */
export function end ({ over, leader }: Auction, adopted = false): AuctionEvent {
  if (over) throw new AuctionOver()
  return { event: 'auction-end', data: { winner: adopted ? null : leader } }
}

/** @throws AuctionRuns */
export function reopen ({ auctionId, over }: Auction): AuctionEvent {
  if (!over) throw new AuctionRuns()
  return { event: 'auction-open', data: { startingPrice: freshAuction(auctionId).startingPrice } }
}

/** What time brings: the first bid starts the clock, and the clock ends the auction; so does an adoption. */
export function due (auction: Auction, adopted: boolean, now: number, auctionMs: number): AuctionEvent | undefined {
  const { amount, endsAt, over } = auction
  if (adopted && !over) return end(auction, adopted)
  if (over || amount === null) return undefined
  if (endsAt === null) return { event: 'auction-clock', data: { endsAt: now + auctionMs } }
  return endsAt <= now ? end(auction) : undefined
}
