/**
 * @fastify/websocket, for apps that have plain `websocket: true` routes beside channels. Channels do not need it:
 * theirs are limits for each route, subprotocols and refusals of their own (see CONTRIBUTING.md).
 */
import type { FastifyInstance, FastifyPluginAsync } from 'fastify'
import { toError } from './core/callbacks.ts'
import { OptionInvalid } from './errors.ts'

// A text to the compiler too: bundlers look for what an import names, and fail where an app has not installed it.
const NAME: string = '@fastify/websocket'

/** Registers it with these options, unless the app has it already. @throws OptionInvalid where it is not installed */
export async function registerWebSocket (fastify: FastifyInstance, options: Record<string, unknown>): Promise<void> {
  if (fastify.hasDecorator('injectWS')) return
  await fastify.register(await load(), options)
}

async function load (): Promise<FastifyPluginAsync> {
  try {
    const { default: plugin } = await import(NAME) as { default: FastifyPluginAsync }
    return plugin
  } catch (error) {
    const [why] = toError(error).message.split('\n')
    throw new OptionInvalid('websocket', `needs ${NAME}, which could not be loaded (${why}): npm install ${NAME}`)
  }
}
