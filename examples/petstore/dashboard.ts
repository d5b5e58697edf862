/** A dashboard that several people look at: who is there, and where each one's pointer is. Only a token opens it. */
import { Type, type Static } from 'typebox'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { introducing, type Shop } from './node.ts'
import type { Pet, Store } from './store.ts'

export const dashboardTopic = 'presence-dashboard'

/** From the panel's left upper corner (0) to its right lower one (1). */
const Place = Type.Object({ x: Type.Number({ minimum: 0, maximum: 1 }), y: Type.Number({ minimum: 0, maximum: 1 }) })
const Figures = Type.Object({
  available: Type.Integer(),
  pending: Type.Integer(),
  adopted: Type.Integer(),
  /** Of those that can be had, in dollars. */
  worth: Type.Number()
})

export const dashboard: FastifyPluginAsyncTypebox<Shop> = async (app, { store, node }) => {
  // The page shows: dashboard
  const board = app.topic(dashboardTopic, {
    authorize: 'token',
    events: { update: Figures, cursor: Type.Object({ userId: Type.String(), ...Place.properties }) },
    snapshot: async () => ({ event: 'update', data: await figuresOf(store) }),
    presence: true
  })
  // The page shows: until here

  app.channel('/presence-dashboard', {
    topics: board,
    presence: true,
    ...introducing(node),
    messages: {
      // Told to the others, and kept nowhere. Whose it is is said by the server.
      cursor: { schema: Place, relay: (place, { connection }) => ({ ...place, userId: connection.identity.id }) }
    }
  })
}

export async function figuresOf (store: Store): Promise<Static<typeof Figures>> {
  const pets = await store.pets()
  const count = (status: Pet['status']): number => pets.filter(pet => pet.status === status).length
  return {
    available: count('AVAILABLE'),
    pending: count('PENDING'),
    adopted: count('ADOPTED'),
    worth: pets.filter(({ status }) => status !== 'ADOPTED').reduce((sum, { price }) => sum + price, 0)
  }
}
