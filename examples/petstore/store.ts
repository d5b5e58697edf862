/** What the shop keeps, and the contract of whoever keeps it: memory for one node, Redis for several. */
import createError from '@fastify/error'

export const petStatuses = ['AVAILABLE', 'PENDING', 'ADOPTED'] as const
export type PetStatus = typeof petStatuses[number]

export const orderStatuses = ['placed', 'shipped', 'delivered'] as const
export type OrderStatus = typeof orderStatuses[number]

export interface Pet { petId: string, petName: string, kind: string, about: string, status: PetStatus, price: number }
export interface PetChange { status?: PetStatus, price?: number }
export interface Order { orderId: string, userId: string, petId: string, status: OrderStatus }
export interface Item { itemId: string, name: string, stock: number, full: number }
export const PetNotFound = createError('PET_NOT_FOUND', 'There is no pet %s', 404)
export const OrderNotFound = createError('ORDER_NOT_FOUND', 'There is no order %s', 404)
export const ItemNotFound = createError('ITEM_NOT_FOUND', 'There is no item %s', 404)
export const PetAdopted = createError('PET_ADOPTED', '%s has been adopted already', 409)
export const OrderGoesForward = createError('ORDER_GOES_FORWARD', 'An order that is %s cannot become %s', 409)
export const StoreAway = createError('STORE_AWAY', 'The shop cannot be reached for a moment; try again', 503)

/** Each method is one step: what two requests do, on whatever nodes, never interleaves. */
export interface Store {
  pets (): Promise<Pet[]>
  pet (petId: string): Promise<Pet>
  /** @throws PetAdopted: nothing of an adopted pet changes any more. */
  changePet (petId: string, change: PetChange): Promise<Pet>
  /** @throws PetAdopted: of several who adopt a pet at the same moment, one does. */
  adopt (petId: string): Promise<Pet>

  order (orderId: string): Promise<Order>
  /** @throws PetAdopted */
  placeOrder (userId: string, petId: string): Promise<Order>
  advanceOrder (orderId: string, status: OrderStatus): Promise<Order>

  /** Which of a person's sessions count: those that bear this number. */
  sessions (userId: string): Promise<number>
  /** None of those that there are counts any more. */
  endSessions (userId: string): Promise<void>

  items (): Promise<Item[]>
  setStock (itemId: string, stock: number): Promise<Item>

  close (): void
}

export interface StoreOptions {
  pets?: Pet[]
  items?: Item[]
}

/** What the shop opens with. */
export function stock (options: StoreOptions): { pets: Map<string, Pet>, items: Map<string, Item> } {
  return {
    pets: new Map((options.pets ?? somePets).map(pet => [pet.petId, { ...pet }])),
    items: new Map((options.items ?? someItems).map(item => [item.itemId, { ...item }]))
  }
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
