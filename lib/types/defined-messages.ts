/** What messages are typed by, for a channel to take and a client to import. */

declare const messageTypes: unique symbol

/** Message → what a client sends, and what its handler answers. In types alone. */
export interface DefinedMessages<Messages> {
  readonly [messageTypes]: Messages
}
