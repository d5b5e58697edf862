/** The client: `fastify-realtime/client`. No dependency, and nothing of the server. */
export { connect, type Client, type ConnectOptions } from './connect.ts'
export { RealtimeError } from './errors.ts'
export { listen, type ListenOptions, type StreamEvent, type StreamState } from './listen.ts'
export type { ClientState } from './state.ts'
export type { Store } from './store.ts'
export type { TokenReason, TokenSource } from './token.ts'
export type { HeardMember, StateEntry } from './topic.ts'
export type { ClientEvent, ClientTopic, OwnEvents } from './types.ts'
