/**
 * @fastify/websocket, for apps that have plain `websocket: true` routes beside channels. Channels do not need it:
 * each has limits, subprotocols and refusals of its own (see CONTRIBUTING.md).
 */
import type { FastifyInstance, FastifyPluginAsync } from 'fastify'
import { loadPeer } from './peers.ts'

/**
 * Registers it with these options, unless the app has it already.
 * @throws FST_ERR_REALTIME_PEER_MISSING
 */
export async function registerWebSocket (fastify: FastifyInstance, options: Record<string, unknown>): Promise<void> {
  if (fastify.hasDecorator('injectWS')) return
  const loaded = await loadPeer<{ default: FastifyPluginAsync }>('the option "websocket"', '@fastify/websocket')
  await fastify.register(loaded.default, options)
}
