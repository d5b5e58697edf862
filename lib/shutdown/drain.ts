/**
 * `app.close()`, drained: clients are told to come back, and what would keep the server open is let go of, within the
 * time.
 */

interface Draining {
  /** Its clients: those that have not left in time are cut. */
  readonly hub: { stop (): Promise<void> }
  /** Upgrades that nobody has answered. */
  readonly upgrades: { close (ms: number): void }
  /** Sockets on which nothing was asked. */
  readonly silent: { close (ms: number): void }
  /** Requests with a body that are not answered. */
  readonly posts: { close (ms: number): void }
  readonly sessions: { close (ms: number): Promise<void> }
}

export async function drain (ms: number, { hub, upgrades, silent, posts, sessions }: Draining): Promise<void> {
  // The sessions' streams end with the connections, so both are told before either is waited for.
  const stopped = hub.stop()
  silent.close(ms)
  upgrades.close(ms)
  posts.close(ms)
  await Promise.all([stopped, sessions.close(ms)])
}
