/** Pets over HTTP, and a stream of what happens to them: what is for everybody and what is for one person. */
import type { FastifyInstance } from 'fastify'
import { Type } from 'typebox'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { dashboardTopic, figuresOf } from './dashboard.ts'
import { introducing, type Shop } from './node.ts'
import { requirePerson, UserId } from './session.ts'
import { petStatuses, type Pet } from './store.ts'

const PetParams = Type.Object({ petId: Type.String({ maxLength: 64 }) })
const StatusChange = Type.Object({ petId: Type.String(), status: Type.Enum([...petStatuses]) })
const PriceChange = Type.Object({ petId: Type.String(), price: Type.Number() })
/** `userId`: whom it is for, where it is not for everybody. */
const Note = Type.Object({ text: Type.String(), userId: Type.Optional(Type.String()) })

const aboutPets = { 'status-change': StatusChange, 'price-change': PriceChange }

/** For those who watch a single pet, e.g. from its auction. */
export function petTopic (app: FastifyInstance) {
  return app.topic('pets/:petId', { authorize: 'anyone', events: aboutPets })
}

export const notifications: FastifyPluginAsyncTypebox<Shop> = async (app, { store, node, pet }) => {
  const pets = app.topic('pets', {
    events: { ...aboutPets, message: Note }
  })
  const personal = app.topic('users/:userId/notifications', {
    events: {
      adoption: Type.Object({ petId: Type.String(), petName: Type.String(), userId: Type.String() }),
      message: Note
    }
  })

  app.stream('/v1/pets/notifications', {
    topics: ({ person }) => person === null
      ? pets.at({})
      : [pets.at({}), personal.at({ userId: person.id })],
    ...introducing(node)
  })

  app.get('/v1/pets', async () => ({ pets: await store.pets() }))

  app.patch('/v1/pets/:petId', {
    schema: {
      params: PetParams,
      body: Type.Object({
        status: Type.Optional(Type.Enum([...petStatuses])),
        price: Type.Optional(Type.Number({ minimum: 0, maximum: 1e6 }))
      }, { anyOf: [{ required: ['status'] }, { required: ['price'] }] })
    }
  }, async request => {
    const { status, price } = request.body
    const changed = await store.changePet(request.params.petId, request.body)
    if (status !== undefined) await tellStatus(changed)
    if (price !== undefined) await tellPrice(changed)
    return changed
  })

  app.post('/v1/pets/:petId/adopt', {
    schema: { params: PetParams, body: Type.Object({ userId: UserId }) }
  }, async request => {
    // The page shows: pets
    const { userId } = request.body
    const adopted = await store.adopt(request.params.petId)
    const { petId, petName } = adopted
    await Promise.all([
      personal.publish({ userId }, 'adoption', { petId, petName, userId }),
      tellStatus(adopted)
    ])
    return adopted
    // The page shows: until here
  })

  // `message` is the event without a name, which an EventSource hears as `onmessage`.
  app.post('/v1/notifications', {
    schema: { body: Type.Object({ text: Type.String({ minLength: 1, maxLength: 500 }), userId: Type.Optional(UserId) }) }
  }, async (request, reply) => {
    const { text, userId } = request.body
    const { id } = userId === undefined
      ? await pets.publish({}, 'message', { text })
      : await personal.publish({ userId }, 'message', { text, userId })
    return reply.code(202).send({ id })
  })

  // For the page's "Drop connection": the cut is real, and the client comes back by itself.
  app.post('/v1/connections/drop', { preHandler: requirePerson }, async ({ person }) => {
    // On whichever node they are.
    await app.realtime.disconnect({ topic: personal.name({ userId: person!.id }) })
    return { dropped: true }
  })

  async function tellStatus ({ petId, status }: Pet): Promise<void> {
    await Promise.all([
      pets.publish({}, 'status-change', { petId, status }),
      pet.publish({ petId }, 'status-change', { petId, status }),
      tellFigures()
    ])
  }

  async function tellPrice ({ petId, price }: Pet): Promise<void> {
    await Promise.all([
      pets.publish({}, 'price-change', { petId, price }),
      pet.publish({ petId }, 'price-change', { petId, price }),
      tellFigures()
    ])
  }

  async function tellFigures (): Promise<void> {
    await app.realtime.publish(dashboardTopic, 'update', await figuresOf(store))
  }
}
