/**
 * The public types: what an app writes and reads. They contain no code.
 *
 * Interfaces are exported with `*`: otherwise an app could not merge members into them (`RealtimeIdentity`).
 */
export type * from './adapter.ts'
export type * from './channel.ts'
export type * from './claims.ts'
export type * from './connection.ts'
export type * from './fastify.ts'
export type * from './identity.ts'
export type * from './description.ts'
export type { DefinedMessages } from './defined-messages.ts'
export type { MessageDefinitions } from './messages.ts'
export type * from './options.ts'
export type * from './params.ts'
export type * from './realtime.ts'
export type { RealtimeRequest, RouteMethod, TopicNames, TopicsOption } from './route.ts'
export type * from './schemas.ts'
export type * from './stream.ts'
export type { ManySecrets, OneSecret, OwnClaims, OwnVerify, SignOptions, TokensOptions, TokenTopic } from './tokens.ts'
export type * from './topic.ts'
