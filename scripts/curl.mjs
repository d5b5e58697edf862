// curl, one of the clients that tests connect with.

import { aptInstall, given, onPath } from './programs.mjs'

/** Resolves with a path, or with undefined after it has said what to do. */
export async function findCurl () {
  if (process.env.CURL_BIN) return given('CURL_BIN')
  const found = onPath('curl')
  if (found) return found
  await aptInstall('curl')
  return onPath('curl') ?? console.error('The tests run curl. Install it, or set CURL_BIN to its path.')
}
