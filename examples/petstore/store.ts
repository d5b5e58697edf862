/** The shop's state. Every change is one synchronous step, so what two requests see never interleaves. */
import { randomUUID } from 'node:crypto'
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

export const PetNotFound = createError('PET_NOT_FOUND', 'There is no pet %s', 404)
export const OrderNotFound = createError('ORDER_NOT_FOUND', 'There is no order %s', 404)
export const ItemNotFound = createError('ITEM_NOT_FOUND', 'There is no item %s', 404)
export const AuctionNotFound = createError('AUCTION_NOT_FOUND', 'There is no auction %s', 404)
export const PetAdopted = createError('PET_ADOPTED', '%s has been adopted already', 409)
export const OrderGoesForward = createError('ORDER_GOES_FORWARD', 'An order that is %s cannot become %s', 409)
export const BidTooLow = createError('BID_TOO_LOW', 'A bid has to be %s', 409)
export const AuctionOver = createError('AUCTION_OVER', 'This auction is over', 409)
export const AuctionRuns = createError('AUCTION_RUNS', 'This auction is still open', 409)

export interface StoreOptions {
  pets?: Pet[]
  items?: Item[]
  /** How long an auction runs after its first bid, ms. */
  auctionMs?: number
}

const ordersKept = 1000

export class Store {
  readonly #pets: Map<string, Pet>
  readonly #items: Map<string, Item>
  readonly #orders = new Map<string, Order>()
  readonly #auctions: Map<string, Auction>
  readonly auctionMs: number

  constructor (options: StoreOptions = {}) {
    const pets = options.pets ?? somePets()
    this.#pets = new Map(pets.map(pet => [pet.petId, pet]))
    this.#items = new Map((options.items ?? someItems()).map(item => [item.itemId, item]))
    this.#auctions = new Map(pets.map(pet => [pet.petId, freshAuction(pet.petId)]))
    this.auctionMs = options.auctionMs ?? 10 * 60_000
  }

  pets (): Pet[] {
    return [...this.#pets.values()]
  }

  pet (petId: string): Pet {
    const pet = this.#pets.get(petId)
    if (pet === undefined) throw new PetNotFound(petId)
    return pet
  }

  adopt (petId: string): Pet {
    const pet = this.pet(petId)
    if (pet.status === 'ADOPTED') throw new PetAdopted(pet.petName)
    pet.status = 'ADOPTED'
    return pet
  }

  order (orderId: string): Order {
    const order = this.#orders.get(orderId)
    if (order === undefined) throw new OrderNotFound(orderId)
    return order
  }

  placeOrder (userId: string, petId: string): Order {
    const order: Order = { orderId: randomUUID().slice(0, 8), userId, petId: this.pet(petId).petId, status: 'placed' }
    this.#orders.set(order.orderId, order)
    for (const oldest of this.#orders.keys()) {
      if (this.#orders.size <= ordersKept) break
      this.#orders.delete(oldest)
    }
    return order
  }

  advanceOrder (orderId: string, status: OrderStatus): Order {
    const order = this.order(orderId)
    if (orderStatuses.indexOf(status) <= orderStatuses.indexOf(order.status)) {
      throw new OrderGoesForward(order.status, status)
    }
    order.status = status
    return order
  }

  items (): Item[] {
    return [...this.#items.values()]
  }

  setStock (itemId: string, stock: number): Item {
    const item = this.#items.get(itemId)
    if (item === undefined) throw new ItemNotFound(itemId)
    item.stock = stock
    return item
  }

  auction (auctionId: string): Auction {
    const auction = this.#auctions.get(auctionId)
    if (auction === undefined) throw new AuctionNotFound(auctionId)
    return auction
  }

  /**
   * Takes the bid or throws. The one place that decides, and in one step: on several nodes this is what
   * belongs into the database as one atomic operation.
   */
  bid (auctionId: string, userId: string, amount: number, now = Date.now()): { outbid: string | null } {
    const auction = this.auction(auctionId)
    if (auction.over) throw new AuctionOver()
    if (auction.amount === null && amount < auction.startingPrice) {
      throw new BidTooLow(`at least ${auction.startingPrice}`)
    }
    if (auction.amount !== null && amount <= auction.amount) throw new BidTooLow(`more than ${auction.amount}`)

    const outbid = auction.leader === userId ? null : auction.leader
    auction.amount = amount
    auction.leader = userId
    auction.endsAt ??= now + this.auctionMs
    return { outbid }
  }

  endAuction (auctionId: string): Auction {
    const auction = this.auction(auctionId)
    if (auction.over) throw new AuctionOver()
    auction.over = true
    return auction
  }

  reopenAuction (auctionId: string): Auction {
    if (!this.auction(auctionId).over) throw new AuctionRuns()
    const auction = freshAuction(auctionId)
    this.#auctions.set(auctionId, auction)
    return auction
  }
}

function freshAuction (auctionId: string): Auction {
  return { auctionId, startingPrice: 10, amount: null, leader: null, endsAt: null, over: false }
}

function somePets (): Pet[] {
  return [
    { petId: '019b4132', petName: 'Whiskers', kind: 'cat', about: 'Tabby, 2 years', status: 'AVAILABLE', price: 120 },
    { petId: '019b4127', petName: 'Biscuit', kind: 'dog', about: 'Terrier, 1 year', status: 'AVAILABLE', price: 240 },
    { petId: '019b4140', petName: 'Clover', kind: 'rabbit', about: 'Lop, 8 months', status: 'PENDING', price: 60 },
    { petId: '019b4155', petName: 'Kiwi', kind: 'bird', about: 'Budgie, 3 years', status: 'AVAILABLE', price: 45 },
    { petId: '019b4161', petName: 'Sheldon', kind: 'turtle', about: 'Box turtle, 12 years', status: 'AVAILABLE', price: 85 }
  ]
}

function someItems (): Item[] {
  return [
    { itemId: 'kibble', name: 'Kibble, 5 kg', stock: 42, full: 60 },
    { itemId: 'litter', name: 'Cat litter', stock: 18, full: 60 },
    { itemId: 'leash', name: 'Leash', stock: 27, full: 40 },
    { itemId: 'hay', name: 'Meadow hay', stock: 7, full: 40 },
    { itemId: 'seed', name: 'Seed mix', stock: 31, full: 50 }
  ]
}
