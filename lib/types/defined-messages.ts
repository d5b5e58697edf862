/** The type of a channel's messages, which a client can import. */

declare const messageTypes: unique symbol

/** By name of the message: what a client sends, and what its handler returns. It exists only as a type. */
export interface DefinedMessages<Messages> {
  readonly [messageTypes]: Messages
}
