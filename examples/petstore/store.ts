/** What the shop keeps, and the contract of whoever keeps it: memory for one node, Redis for several. */
import createError from '@fastify/error'

export const petStatuses = ['AVAILABLE', 'PENDING', 'ADOPTED'] as const
export type PetStatus = typeof petStatuses[number]

export const orderStatuses = ['placed', 'shipped', 'delivered'] as const
export type OrderStatus = typeof orderStatuses[number]

export interface Pet { petId: string, petName: string, kind: string, about: string, status: PetStatus, price: number }
export interface Order { orderId: string, userId: string, petId: string, status: OrderStatus }
export interface Item { itemId: string, name: string, stock: number, full: number }
export interface Auction {
  auctionId: string
  startingPrice: number
  amount: number | null
  leader: string | null
  /** When it ends, ms since 1970; null until the first bid starts the clock. */
  endsAt: number | null
  over: boolean
}

/** What was decided in an auction. The id is its own for ever. */
export type AuctionChange = { id: string } & (
  | { event: 'bid', userId: string, amount: number, outbid: string | null }
  | { event: 'auction-end', winner: string | null }
  | { event: 'auction-open', startingPrice: number }
)

export const PetNotFound = createError('PET_NOT_FOUND', 'There is no pet %s', 404)
export const OrderNotFound = createError('ORDER_NOT_FOUND', 'There is no order %s', 404)
export const ItemNotFound = createError('ITEM_NOT_FOUND', 'There is no item %s', 404)
export const AuctionNotFound = createError('AUCTION_NOT_FOUND', 'There is no auction %s', 404)
export const PetAdopted = createError('PET_ADOPTED', '%s has been adopted already', 409)
export const OrderGoesForward = createError('ORDER_GOES_FORWARD', 'An order that is %s cannot become %s', 409)
export const BidTooLow = createError('BID_TOO_LOW', 'A bid has to be %s', 409)
export const AuctionOver = createError('AUCTION_OVER', 'This auction is over', 409)
export const AuctionRuns = createError('AUCTION_RUNS', 'This auction is still open', 409)
export const StoreAway = createError('STORE_AWAY', 'The shop cannot be reached for a moment; try again', 503)

/** Each method is one step: what two requests do, on whatever nodes, never interleaves. */
export interface Store {
  pets (): Promise<Pet[]>
  pet (petId: string): Promise<Pet>
  changePet (petId: string, change: { status?: PetStatus, price?: number }): Promise<Pet>
  adopt (petId: string): Promise<Pet>

  order (orderId: string): Promise<Order>
  placeOrder (userId: string, petId: string): Promise<Order>
  advanceOrder (orderId: string, status: OrderStatus): Promise<Order>

  items (): Promise<Item[]>
  setStock (itemId: string, stock: number): Promise<Item>

  auction (auctionId: string): Promise<Auction>
  /** Takes the bid or throws: the one place that decides which is highest. */
  bid (auctionId: string, userId: string, amount: number): Promise<void>
  endAuction (auctionId: string): Promise<Auction>
  reopenAuction (auctionId: string): Promise<Auction>
  /** Ends the auctions whose time is up; resolves with those of which something is still to be told. */
  endDue (): Promise<string[]>
  /**
   * What was decided in an auction and not told yet, in the order it was decided. It is kept in the step that decides it,
   * so that it is told even if the node that decided it dies before it could.
   */
  untold (auctionId: string): Promise<AuctionChange[]>
  told (auctionId: string, changeId: string): Promise<void>

  close (): void
}

export interface StoreOptions {
  pets?: Pet[]
  items?: Item[]
  /** How long an auction runs after its first bid, ms. */
  auctionMs?: number
}

/** What the shop opens with. */
export function stock (options: StoreOptions): { pets: Map<string, Pet>, items: Map<string, Item>, auctionMs: number } {
  return {
    pets: new Map((options.pets ?? somePets).map(pet => [pet.petId, { ...pet }])),
    items: new Map((options.items ?? someItems).map(item => [item.itemId, { ...item }])),
    auctionMs: options.auctionMs ?? 10 * 60_000
  }
}

/** There is one for each pet, under its id. */
export function freshAuction (auctionId: string): Auction {
  return { auctionId, startingPrice: 10, amount: null, leader: null, endsAt: null, over: false }
}

/** @throws BidTooLow, AuctionOver */
export function checkBid ({ over, amount: highest, startingPrice }: Auction, amount: number): void {
  if (over) throw new AuctionOver()
  if (highest === null && amount < startingPrice) throw new BidTooLow(`at least ${startingPrice}`)
  if (highest !== null && amount <= highest) throw new BidTooLow(`more than ${highest}`)
}

const somePets: Pet[] = [
  { petId: '019b4132', petName: 'Whiskers', kind: 'cat', about: 'Tabby, 2 years', status: 'AVAILABLE', price: 120 },
  { petId: '019b4127', petName: 'Biscuit', kind: 'dog', about: 'Terrier, 1 year', status: 'AVAILABLE', price: 240 },
  { petId: '019b4140', petName: 'Clover', kind: 'rabbit', about: 'Lop, 8 months', status: 'PENDING', price: 60 },
  { petId: '019b4155', petName: 'Kiwi', kind: 'bird', about: 'Budgie, 3 years', status: 'AVAILABLE', price: 45 },
  { petId: '019b4161', petName: 'Sheldon', kind: 'turtle', about: 'Box turtle, 12 years', status: 'AVAILABLE', price: 85 }
]

const someItems: Item[] = [
  { itemId: 'kibble', name: 'Kibble, 5 kg', stock: 42, full: 60 },
  { itemId: 'litter', name: 'Cat litter', stock: 18, full: 60 },
  { itemId: 'leash', name: 'Leash', stock: 27, full: 40 },
  { itemId: 'hay', name: 'Meadow hay', stock: 7, full: 40 },
  { itemId: 'seed', name: 'Seed mix', stock: 31, full: 50 }
]
