/** Builds the shop without listening, so that tests can have their own. */
import { fileURLToPath } from 'node:url'
import Fastify, { type FastifyInstance, type FastifyServerOptions } from 'fastify'
import fastifyStatic from '@fastify/static'
import realtime, { type RealtimeOptions } from 'fastify-realtime'
import { auctions } from './auctions.ts'
import { inventory } from './inventory.ts'
import { notifications } from './notifications.ts'
import { orders } from './orders.ts'
import { session, whoIsAsking } from './session.ts'
import { Store, type StoreOptions } from './store.ts'
import { support } from './support.ts'

export interface PetStoreOptions extends StoreOptions {
  logger?: FastifyServerOptions['logger']
  realtime?: RealtimeOptions
}

const pagePolicy = [
  "default-src 'self'",
  "img-src 'self' blob:",
  "object-src 'none'",
  "base-uri 'none'",
  "form-action 'self'"
].join('; ')

export async function buildApp (options: PetStoreOptions = {}): Promise<FastifyInstance> {
  const app = Fastify({ logger: options.logger ?? false })
  const store = new Store(options)

  await app.register(session)
  await app.register(realtime, { identify: request => request.person, ...options.realtime })

  // In a scope of their own: the page and the login are for those, too, of whom nothing is known yet.
  await app.register(async shop => {
    shop.addHook('onRequest', whoIsAsking)
    await shop.register(notifications, { store })
    await shop.register(orders, { store })
    await shop.register(inventory, { store })
    await shop.register(auctions, { store })
    await shop.register(support)
  })

  await app.register(fastifyStatic, {
    root: fileURLToPath(new URL('./public/', import.meta.url)),
    setHeaders: reply => reply.header('content-security-policy', pagePolicy)
  })
  return app
}
