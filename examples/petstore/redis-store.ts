/**
 * The shop's state in Redis, for several nodes. What the shop opens with is in the code; Redis has what changed since. So
 * nothing has to be put there first, and a shop whose Redis lost its data is as new.
 *
 *     petstore:pet:<id>  petstore:item:<id>  petstore:order:<id>  petstore:auction:<id>    hashes
 *     petstore:untold:<auctionId>    a stream: what was decided and not told yet
 */
import { randomUUID } from 'node:crypto'
import { Redis } from 'ioredis'
import {
  AuctionNotFound, AuctionOver, AuctionRuns, checkBid, freshAuction, ItemNotFound, OrderGoesForward, OrderNotFound, orderStatuses, PetAdopted, PetNotFound, StoreAway, stock,
  type Auction, type AuctionChange, type Item, type Order, type OrderStatus, type Pet, type PetStatus, type Store, type StoreOptions
} from './store.ts'

const orderSeconds = 24 * 60 * 60

/** KEYS: pet. ARGV: the status of a pet that nobody has changed. 0: adopted already. */
const adoptPet = `
if (redis.call('HGET', KEYS[1], 'status') or ARGV[1]) == 'ADOPTED' then return 0 end
redis.call('HSET', KEYS[1], 'status', 'ADOPTED')
return 1`

/** KEYS: order. ARGV: status, then all of them in their order. Returns what it was. */
const advanceOrder = `
local rank = {}
for i = 2, #ARGV do rank[ARGV[i]] = i end
local before = redis.call('HGET', KEYS[1], 'status')
if before and rank[ARGV[1]] > rank[before] then redis.call('HSET', KEYS[1], 'status', ARGV[1]) end
return before`

/**
 * KEYS: auction, untold. ARGV: user, amount, starting price, ms that an auction runs. Returns 1 if the bid was taken, and
 * what it was compared with.
 */
const bid = `
local amount, leader, over = unpack(redis.call('HMGET', KEYS[1], 'amount', 'leader', 'over'))
local enough
if amount then enough = tonumber(ARGV[2]) > tonumber(amount) else enough = tonumber(ARGV[2]) >= tonumber(ARGV[3]) end
if over or not enough then return { 0, amount or '', over or '' } end
redis.call('HSET', KEYS[1], 'leader', ARGV[1], 'amount', ARGV[2])
if not amount then
  local time = redis.call('TIME')
  redis.call('HSET', KEYS[1], 'endsAt', string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[4]))
end
redis.call('XADD', KEYS[2], '*', 'event', 'bid', 'userId', ARGV[1], 'amount', ARGV[2], 'outbid', leader ~= ARGV[1] and leader or '')
return { 1, '', '' }`

/** KEYS: auction, untold. ARGV: 'now' or 'due'. Returns 1 if it ended, and how many changes are untold. */
const endAuction = `
local leader, over, endsAt = unpack(redis.call('HMGET', KEYS[1], 'leader', 'over', 'endsAt'))
local ends = not over
if ends and ARGV[1] == 'due' then
  local time = redis.call('TIME')
  ends = endsAt and tonumber(endsAt) <= time[1] * 1000 + time[2] / 1000
end
if ends then
  redis.call('HSET', KEYS[1], 'over', '1')
  redis.call('XADD', KEYS[2], '*', 'event', 'auction-end', 'winner', leader or '')
end
return { ends and 1 or 0, redis.call('XLEN', KEYS[2]) }`

/** KEYS: auction, untold. ARGV: starting price. 0: it is not over. */
const reopenAuction = `
if not redis.call('HGET', KEYS[1], 'over') then return 0 end
redis.call('DEL', KEYS[1])
redis.call('XADD', KEYS[2], '*', 'event', 'auction-open', 'startingPrice', ARGV[1])
return 1`

type Fields = Record<string, string>

export class RedisStore implements Store {
  readonly #redis: Redis
  readonly #pets: Map<string, Pet>
  readonly #items: Map<string, Item>
  readonly #auctionMs: number

  private constructor (redis: Redis, options: StoreOptions) {
    this.#redis = redis
    const { pets, items, auctionMs } = stock(options)
    this.#pets = pets
    this.#items = items
    this.#auctionMs = auctionMs
  }

  /** @throws StoreAway */
  static async open (url: string, options: StoreOptions = {}): Promise<RedisStore> {
    const redis = new Redis(url, {
      lazyConnect: true,
      // A bid is not kept for later, and not sent twice: whoever made it is told, and looks.
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

  async changePet (petId: string, change: { status?: PetStatus, price?: number }): Promise<Pet> {
    this.#pet(petId)
    await this.#ask(redis => redis.hset(`petstore:pet:${petId}`, change))
    return await this.pet(petId)
  }

  async adopt (petId: string): Promise<Pet> {
    const { petName, status } = this.#pet(petId)
    if (await this.#run(adoptPet, [`pet:${petId}`], [status]) === 0) throw new PetAdopted(petName)
    return { ...await this.pet(petId), status: 'ADOPTED' }
  }

  // --- orders ------------------------------------------------------------------

  async order (orderId: string): Promise<Order> {
    const { userId, petId, status } = await this.#fields(`order:${orderId}`)
    if (userId === undefined || petId === undefined) throw new OrderNotFound(orderId)
    return { orderId, userId, petId, status: status as OrderStatus }
  }

  async placeOrder (userId: string, petId: string): Promise<Order> {
    const order: Order = { orderId: randomUUID().slice(0, 8), userId, petId: this.#pet(petId).petId, status: 'placed' }
    const key = `petstore:order:${order.orderId}`
    await this.#ask(redis => redis.multi().hset(key, order).expire(key, orderSeconds).exec())
    return order
  }

  async advanceOrder (orderId: string, status: OrderStatus): Promise<Order> {
    const order = await this.order(orderId)
    const before = await this.#run(advanceOrder, [`order:${orderId}`], [status, ...orderStatuses]) as OrderStatus | null
    if (before === null) throw new OrderNotFound(orderId)
    if (orderStatuses.indexOf(status) <= orderStatuses.indexOf(before)) throw new OrderGoesForward(before, status)
    return { ...order, status }
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

  // --- auctions ----------------------------------------------------------------

  async auction (auctionId: string): Promise<Auction> {
    const auction = this.#auction(auctionId)
    const { amount, leader, endsAt, over } = await this.#fields(`auction:${auctionId}`)
    return {
      ...auction,
      ...(amount && { amount: Number(amount) }),
      ...(leader && { leader }),
      ...(endsAt && { endsAt: Number(endsAt) }),
      over: over !== undefined
    }
  }

  async bid (auctionId: string, userId: string, amount: number): Promise<void> {
    const auction = this.#auction(auctionId)
    const [taken, highest, over] = await this.#run(bid, auctionKeys(auctionId), [
      userId, String(amount), String(auction.startingPrice), String(this.#auctionMs)
    ]) as [number, string, string]
    if (taken === 0) checkBid({ ...auction, amount: highest === '' ? null : Number(highest), over: over !== '' }, amount)
  }

  async endAuction (auctionId: string): Promise<Auction> {
    this.#auction(auctionId)
    const [ended] = await this.#run(endAuction, auctionKeys(auctionId), ['now']) as [number, number]
    if (ended === 0) throw new AuctionOver()
    return await this.auction(auctionId)
  }

  async reopenAuction (auctionId: string): Promise<Auction> {
    const auction = this.#auction(auctionId)
    if (await this.#run(reopenAuction, auctionKeys(auctionId), [String(auction.startingPrice)]) === 0) throw new AuctionRuns()
    return auction
  }

  async endDue (): Promise<string[]> {
    const looked = await Promise.all([...this.#pets.keys()].map(async auctionId => {
      const [, untold] = await this.#run(endAuction, auctionKeys(auctionId), ['due']) as [number, number]
      return untold > 0 ? [auctionId] : []
    }))
    return looked.flat()
  }

  async untold (auctionId: string): Promise<AuctionChange[]> {
    const entries = await this.#ask(redis => redis.xrange(`petstore:untold:${auctionId}`, '-', '+', 'COUNT', 1000))
    return entries.map(([id, pairs]) => changeOf(id, pairs))
  }

  async told (auctionId: string, changeId: string): Promise<void> {
    await this.#ask(redis => redis.xdel(`petstore:untold:${auctionId}`, changeId))
  }

  // --- Redis -------------------------------------------------------------------

  #pet (petId: string): Pet {
    const pet = this.#pets.get(petId)
    if (pet === undefined) throw new PetNotFound(petId)
    return pet
  }

  #auction (auctionId: string): Auction {
    if (!this.#pets.has(auctionId)) throw new AuctionNotFound(auctionId)
    return freshAuction(auctionId)
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

const auctionKeys = (auctionId: string): string[] => [`auction:${auctionId}`, `untold:${auctionId}`]

function changeOf (id: string, pairs: string[]): AuctionChange {
  const fields: Fields = {}
  for (let i = 0; i + 1 < pairs.length; i += 2) fields[pairs[i]!] = pairs[i + 1]!
  const { event, userId = '', amount, outbid, winner, startingPrice } = fields
  if (event === 'bid') return { id, event, userId, amount: Number(amount), outbid: outbid || null }
  if (event === 'auction-end') return { id, event, winner: winner || null }
  return { id, event: 'auction-open', startingPrice: Number(startingPrice) }
}
