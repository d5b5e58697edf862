/** Builds the shop without listening, so that tests can have their own. */
import { createHash, randomBytes } from 'node:crypto'
import { fileURLToPath } from 'node:url'
import Fastify, { type FastifyInstance, type FastifyServerOptions } from 'fastify'
import fastifyStatic from '@fastify/static'
import realtime, { type RealtimeOptions } from 'fastify-realtime'
import inspector from 'fastify-realtime/inspector'
import { redis } from 'fastify-realtime/redis'
import { auctions } from './auctions.ts'
import { dashboard } from './dashboard.ts'
import { inventory } from './inventory.ts'
import { lines } from './lines.ts'
import { live } from './live.ts'
import { MemoryStore } from './memory-store.ts'
import type { Shop } from './node.ts'
import { notifications, petTopic } from './notifications.ts'
import { orders } from './orders.ts'
import { RedisStore } from './redis-store.ts'
import { scanner } from './scanner.ts'
import { session, whoIsAsking } from './session.ts'
import type { StoreOptions } from './store.ts'
import { support } from './support.ts'

export interface PetStoreOptions extends StoreOptions {
  logger?: FastifyServerOptions['logger']
  /** What joins several nodes: `redis://…`. Without it there is one, and all is in memory. */
  redisUrl?: string | undefined
  /** What this node is called, for the page to show. */
  node?: string | undefined
  /** How long an auction runs after its first bid, ms. Default: ten minutes. */
  auctionMs?: number
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
  const { redisUrl, node, auctionMs = 10 * 60_000 } = options
  const app = Fastify({ logger: options.logger ?? false })
  const store = redisUrl === undefined ? new MemoryStore(options) : await RedisStore.open(redisUrl, options)
  app.addHook('onClose', async () => store.close())

  // Without a secret of its own a restart signs everybody out; the page then signs in again by itself.
  const secret = process.env.SESSION_SECRET ?? randomBytes(32).toString('hex')
  await app.register(realtime, {
    identify: request => request.person,
    // A key of its own: what signs cookies signs nothing else.
    tokens: { secret: createHash('sha256').update(`tokens ${secret}`).digest() },
    // Plain `websocket: true` routes too: the scanners'.
    websocket: { options: { maxPayload: 1024 } },
    ...(redisUrl !== undefined && { adapter: redis(redisUrl) }),
    ...options.realtime
  })
  await app.register(session, { store, secret })
  // For whoever is on this machine: everybody else is answered that there is nothing here.
  await app.register(inspector)

  // In a scope of their own: the page and the login are for those, too, of whom nothing is known yet.
  await app.register(async shop => {
    shop.addHook('onRequest', whoIsAsking(store))
    const shared: Shop = { store, node, auctionMs, pet: petTopic(shop) }
    await shop.register(notifications, shared)
    await shop.register(orders, shared)
    await shop.register(inventory, shared)
    await shop.register(live, shared)
    await shop.register(scanner, shared)
    await shop.register(auctions, shared)
    await shop.register(support, shared)
    await shop.register(dashboard, shared)
  })

  await app.register(lines)
  await app.register(fastifyStatic, {
    root: fileURLToPath(new URL('./public/', import.meta.url)),
    setHeaders: reply => reply.header('content-security-policy', pagePolicy)
  })
  // The client, as it is built: the page's policy lets no import map in, so it is imported by its path.
  await app.register(fastifyStatic, {
    root: fileURLToPath(new URL('.', import.meta.resolve('fastify-realtime/client'))),
    prefix: '/fastify-realtime-client/',
    decorateReply: false
  })
  return app
}
