/** The shop's state in this process. Every change is one synchronous step, so nothing interleaves. */
import { randomUUID } from 'node:crypto'
import {
  AuctionNotFound, AuctionOver, AuctionRuns, checkBid, freshAuction, ItemNotFound, OrderGoesForward, OrderNotFound, orderStatuses, PetAdopted, PetNotFound, stock,
  type Auction, type AuctionChange, type Item, type Order, type OrderStatus, type Pet, type PetStatus, type Store, type StoreOptions
} from './store.ts'

const ordersKept = 1000

type Decided = AuctionChange extends infer Change ? Change extends AuctionChange ? Omit<Change, 'id'> : never : never

export class MemoryStore implements Store {
  readonly #pets: Map<string, Pet>
  readonly #items: Map<string, Item>
  readonly #orders = new Map<string, Order>()
  readonly #auctions: Map<string, Auction>
  readonly #untold = new Map<string, AuctionChange[]>()
  readonly #auctionMs: number

  constructor (options: StoreOptions = {}) {
    const { pets, items, auctionMs } = stock(options)
    this.#pets = pets
    this.#items = items
    this.#auctions = new Map([...pets.keys()].map(petId => [petId, freshAuction(petId)]))
    this.#auctionMs = auctionMs
  }

  async pets (): Promise<Pet[]> {
    return [...this.#pets.values()].map(pet => ({ ...pet }))
  }

  async pet (petId: string): Promise<Pet> {
    return { ...this.#pet(petId) }
  }

  async changePet (petId: string, change: { status?: PetStatus, price?: number }): Promise<Pet> {
    return { ...Object.assign(this.#pet(petId), change) }
  }

  async adopt (petId: string): Promise<Pet> {
    const pet = this.#pet(petId)
    if (pet.status === 'ADOPTED') throw new PetAdopted(pet.petName)
    pet.status = 'ADOPTED'
    return { ...pet }
  }

  async order (orderId: string): Promise<Order> {
    return { ...this.#order(orderId) }
  }

  async placeOrder (userId: string, petId: string): Promise<Order> {
    const order: Order = { orderId: randomUUID().slice(0, 8), userId, petId: this.#pet(petId).petId, status: 'placed' }
    this.#orders.set(order.orderId, order)
    for (const oldest of this.#orders.keys()) {
      if (this.#orders.size <= ordersKept) break
      this.#orders.delete(oldest)
    }
    return { ...order }
  }

  async advanceOrder (orderId: string, status: OrderStatus): Promise<Order> {
    const order = this.#order(orderId)
    if (orderStatuses.indexOf(status) <= orderStatuses.indexOf(order.status)) {
      throw new OrderGoesForward(order.status, status)
    }
    order.status = status
    return { ...order }
  }

  async items (): Promise<Item[]> {
    return [...this.#items.values()].map(item => ({ ...item }))
  }

  async setStock (itemId: string, stock: number): Promise<Item> {
    const item = this.#items.get(itemId)
    if (item === undefined) throw new ItemNotFound(itemId)
    item.stock = stock
    return { ...item }
  }

  async auction (auctionId: string): Promise<Auction> {
    return { ...this.#auction(auctionId) }
  }

  async bid (auctionId: string, userId: string, amount: number): Promise<void> {
    const auction = this.#auction(auctionId)
    checkBid(auction, amount)
    const outbid = auction.leader === userId ? null : auction.leader
    auction.amount = amount
    auction.leader = userId
    auction.endsAt ??= Date.now() + this.#auctionMs
    this.#decide(auctionId, { event: 'bid', userId, amount, outbid })
  }

  async endAuction (auctionId: string): Promise<Auction> {
    const auction = this.#auction(auctionId)
    if (auction.over) throw new AuctionOver()
    auction.over = true
    this.#decide(auctionId, { event: 'auction-end', winner: auction.leader })
    return { ...auction }
  }

  async reopenAuction (auctionId: string): Promise<Auction> {
    if (!this.#auction(auctionId).over) throw new AuctionRuns()
    const auction = freshAuction(auctionId)
    this.#auctions.set(auctionId, auction)
    this.#decide(auctionId, { event: 'auction-open', startingPrice: auction.startingPrice })
    return { ...auction }
  }

  async endDue (): Promise<string[]> {
    const now = Date.now()
    for (const { auctionId, over, endsAt } of this.#auctions.values()) {
      if (!over && endsAt !== null && endsAt <= now) await this.endAuction(auctionId)
    }
    return [...this.#untold.keys()]
  }

  async untold (auctionId: string): Promise<AuctionChange[]> {
    return [...this.#untold.get(auctionId) ?? []]
  }

  async told (auctionId: string, changeId: string): Promise<void> {
    const left = (this.#untold.get(auctionId) ?? []).filter(({ id }) => id !== changeId)
    if (left.length > 0) this.#untold.set(auctionId, left)
    else this.#untold.delete(auctionId)
  }

  close (): void {}

  #decide (auctionId: string, change: Decided): void {
    this.#untold.set(auctionId, [...this.#untold.get(auctionId) ?? [], { id: randomUUID(), ...change }])
  }

  #pet (petId: string): Pet {
    const pet = this.#pets.get(petId)
    if (pet === undefined) throw new PetNotFound(petId)
    return pet
  }

  #order (orderId: string): Order {
    const order = this.#orders.get(orderId)
    if (order === undefined) throw new OrderNotFound(orderId)
    return order
  }

  #auction (auctionId: string): Auction {
    const auction = this.#auctions.get(auctionId)
    if (auction === undefined) throw new AuctionNotFound(auctionId)
    return auction
  }
}
