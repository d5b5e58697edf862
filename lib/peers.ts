/** Optional peers: packages that an app installs itself. If one is missing, the error says how to install it. */
import { toError } from './core/callbacks.ts'
import { PeerMissing } from './errors.ts'

/**
 * Loads a peer that only some apps have. `user`: what needs it. Bundlers fail on an import that they cannot find, so
 * this one does not show them its name.
 * @throws FST_ERR_REALTIME_PEER_MISSING
 */
export async function loadPeer<T> (user: string, name: string): Promise<T> {
  try {
    return await import(name) as T
  } catch (error) {
    throw peerMissing(user, name, error)
  }
}

/** The error for a peer that could not be loaded, with the reason: it may be installed and broken. */
export function peerMissing (user: string, name: string, error: unknown): Error {
  const [why] = toError(error).message.split('\n')
  return new PeerMissing(user, why, name)
}
