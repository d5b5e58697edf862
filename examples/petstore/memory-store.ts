/** The shop's state in this process. Every change is one synchronous step, so nothing interleaves. */
import { randomUUID } from 'node:crypto'
import {
  ItemNotFound, OrderGoesForward, OrderNotFound, orderStatuses, PetAdopted, PetNotFound, stock,
  type Item, type Order, type OrderStatus, type Pet, type PetChange, type Store, type StoreOptions
} from './store.ts'

const ordersKept = 1000

export class MemoryStore implements Store {
  readonly #pets: Map<string, Pet>
  readonly #items: Map<string, Item>
  readonly #orders = new Map<string, Order>()
  readonly #sessions = new Map<string, number>()

  constructor (options: StoreOptions = {}) {
    const { pets, items } = stock(options)
    this.#pets = pets
    this.#items = items
  }

  async pets (): Promise<Pet[]> {
    return [...this.#pets.values()].map(pet => ({ ...pet }))
  }

  async pet (petId: string): Promise<Pet> {
    return { ...this.#pet(petId) }
  }

  async changePet (petId: string, change: PetChange): Promise<Pet> {
    return { ...Object.assign(this.#forSale(petId), change) }
  }

  async adopt (petId: string): Promise<Pet> {
    return { ...Object.assign(this.#forSale(petId), { status: 'ADOPTED' }) }
  }

  async order (orderId: string): Promise<Order> {
    return { ...this.#order(orderId) }
  }

  async placeOrder (userId: string, petId: string): Promise<Order> {
    const order: Order = { orderId: randomUUID().slice(0, 8), userId, petId: this.#forSale(petId).petId, status: 'placed' }
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

  async sessions (userId: string): Promise<number> {
    return this.#sessions.get(userId) ?? 0
  }

  async endSessions (userId: string): Promise<void> {
    this.#sessions.set(userId, (this.#sessions.get(userId) ?? 0) + 1)
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

  close (): void {}

  #pet (petId: string): Pet {
    const pet = this.#pets.get(petId)
    if (pet === undefined) throw new PetNotFound(petId)
    return pet
  }

  #forSale (petId: string): Pet {
    const pet = this.#pet(petId)
    if (pet.status === 'ADOPTED') throw new PetAdopted(pet.petName)
    return pet
  }

  #order (orderId: string): Order {
    const order = this.#orders.get(orderId)
    if (order === undefined) throw new OrderNotFound(orderId)
    return order
  }
}
