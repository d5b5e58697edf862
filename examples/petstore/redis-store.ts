/**
 * The shop's state in Redis, for several nodes. What the shop opens with is in the code; Redis has what changed since. So
 * nothing has to be put there first, and a shop whose Redis lost its data is as new.
 *
 *     petstore:pet:<id>  petstore:item:<id>  petstore:order:<id>    hashes
 *     petstore:sessions:<userId>                                    how often this person was signed out everywhere
 */
import { randomUUID } from 'node:crypto'
import { Redis } from 'ioredis'
import {
  ItemNotFound, OrderGoesForward, OrderNotFound, orderStatuses, PetAdopted, PetNotFound, StoreAway, stock,
  type Item, type Order, type OrderStatus, type Pet, type PetChange, type PetStatus, type Store, type StoreOptions
} from './store.ts'

const orderSeconds = 24 * 60 * 60

/**
 * KEYS: pet, what to write to. ARGV: the status of a pet that nobody has changed, for how many seconds it is kept (0: for
 * ever), then fields and values. 0: the pet is adopted, and nothing was written.
 */
const writeUnlessAdopted = `
if (redis.call('HGET', KEYS[1], 'status') or ARGV[1]) == 'ADOPTED' then return 0 end
redis.call('HSET', KEYS[2], unpack(ARGV, 3))
if tonumber(ARGV[2]) > 0 then redis.call('EXPIRE', KEYS[2], ARGV[2]) end
return 1`

/** KEYS: order. ARGV: status, then all of them in their order. Returns what it was. */
const advanceOrder = `
local rank = {}
for i = 2, #ARGV do rank[ARGV[i]] = i end
local before = redis.call('HGET', KEYS[1], 'status')
if before and rank[ARGV[1]] > rank[before] then redis.call('HSET', KEYS[1], 'status', ARGV[1]) end
return before`

type Fields = Record<string, string>

export class RedisStore implements Store {
  readonly #redis: Redis
  readonly #pets: Map<string, Pet>
  readonly #items: Map<string, Item>

  private constructor (redis: Redis, options: StoreOptions) {
    this.#redis = redis
    const { pets, items } = stock(options)
    this.#pets = pets
    this.#items = items
  }

  /** @throws StoreAway */
  static async open (url: string, options: StoreOptions = {}): Promise<RedisStore> {
    const redis = new Redis(url, {
      lazyConnect: true,
      // A change is not kept for later, and not sent twice: whoever made it is told, and looks.
      enableOfflineQueue: false,
      autoResendUnfulfilledCommands: false,
      maxRetriesPerRequest: 0,
      commandTimeout: 3000,
      retryStrategy: () => 200
    })
    // Whoever asks something meanwhile gets STORE_AWAY; that it is away is logged by the plugin's adapter.
    redis.on('error', () => {})
    try {
      await redis.connect()
    } catch (error) {
      redis.disconnect()
      throw Object.assign(new StoreAway(), { cause: error })
    }
    return new RedisStore(redis, options)
  }

  close (): void {
    this.#redis.disconnect()
  }

  // --- pets --------------------------------------------------------------------

  async pets (): Promise<Pet[]> {
    return await Promise.all([...this.#pets.keys()].map(petId => this.pet(petId)))
  }

  async pet (petId: string): Promise<Pet> {
    const pet = this.#pet(petId)
    const { status, price } = await this.#fields(`pet:${petId}`)
    return { ...pet, ...(status && { status: status as PetStatus }), ...(price && { price: Number(price) }) }
  }

  async changePet (petId: string, change: PetChange): Promise<Pet> {
    await this.#write(petId, `pet:${petId}`, change)
    return { ...await this.pet(petId), ...change }
  }

  async adopt (petId: string): Promise<Pet> {
    return await this.changePet(petId, { status: 'ADOPTED' })
  }

  /** In one step with the look whether the pet can be had still. */
  async #write (petId: string, key: string, fields: object, seconds = 0): Promise<void> {
    const { petName, status } = this.#pet(petId)
    const args = [status, seconds, ...Object.entries(fields).flat()].map(String)
    if (await this.#run(writeUnlessAdopted, [`pet:${petId}`, key], args) === 0) throw new PetAdopted(petName)
  }

  // --- orders ------------------------------------------------------------------

  async order (orderId: string): Promise<Order> {
    const { userId, petId, status } = await this.#fields(`order:${orderId}`)
    if (userId === undefined || petId === undefined) throw new OrderNotFound(orderId)
    return { orderId, userId, petId, status: status as OrderStatus }
  }

  async placeOrder (userId: string, petId: string): Promise<Order> {
    const order: Order = { orderId: randomUUID().slice(0, 8), userId, petId, status: 'placed' }
    await this.#write(petId, `order:${order.orderId}`, order, orderSeconds)
    return order
  }

  async advanceOrder (orderId: string, status: OrderStatus): Promise<Order> {
    const order = await this.order(orderId)
    const before = await this.#run(advanceOrder, [`order:${orderId}`], [status, ...orderStatuses]) as OrderStatus | null
    if (before === null) throw new OrderNotFound(orderId)
    if (orderStatuses.indexOf(status) <= orderStatuses.indexOf(before)) throw new OrderGoesForward(before, status)
    return { ...order, status }
  }

  // --- sessions ----------------------------------------------------------------

  async sessions (userId: string): Promise<number> {
    return Number(await this.#ask(redis => redis.get(`petstore:sessions:${userId}`)))
  }

  async endSessions (userId: string): Promise<void> {
    await this.#ask(redis => redis.incr(`petstore:sessions:${userId}`))
  }

  // --- items -------------------------------------------------------------------

  async items (): Promise<Item[]> {
    return await Promise.all([...this.#items.values()].map(async item => {
      const { stock } = await this.#fields(`item:${item.itemId}`)
      return { ...item, ...(stock && { stock: Number(stock) }) }
    }))
  }

  async setStock (itemId: string, stock: number): Promise<Item> {
    const item = this.#items.get(itemId)
    if (item === undefined) throw new ItemNotFound(itemId)
    await this.#ask(redis => redis.hset(`petstore:item:${itemId}`, { stock }))
    return { ...item, stock }
  }

  // --- Redis -------------------------------------------------------------------

  #pet (petId: string): Pet {
    const pet = this.#pets.get(petId)
    if (pet === undefined) throw new PetNotFound(petId)
    return pet
  }

  async #fields (key: string): Promise<Fields> {
    return await this.#ask(redis => redis.hgetall(`petstore:${key}`))
  }

  /** One step for Redis, which runs one script at a time. */
  async #run (lua: string, keys: string[], args: string[]): Promise<unknown> {
    return await this.#ask(redis => redis.eval(lua, keys.length, ...keys.map(key => `petstore:${key}`), ...args))
  }

  async #ask<T> (run: (redis: Redis) => Promise<T>): Promise<T> {
    try {
      return await run(this.#redis)
    } catch (error) {
      throw Object.assign(new StoreAway(), { cause: error })
    }
  }
}
