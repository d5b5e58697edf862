/** `fastify-realtime/testing`: clients for streams and channels, for an app that listens or not. */
export { connectStream, StreamClient, StreamRefused, type ConnectStreamOptions } from './stream.ts'
export {
  connectChannel, ChannelClient, ChannelRefused, type ChannelEnd, type ConnectChannelOptions
} from './channel.ts'
export type { Received } from './inbox.ts'
export type { TestContext } from './lifetime.ts'
