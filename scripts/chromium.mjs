// The Chromium that browser tests drive: $CHROMIUM_BIN, one on PATH, or Debian's package.

import { aptInstall, given, onPath } from './programs.mjs'

const names = ['chromium', 'chromium-browser', 'google-chrome']

/** Resolves with a path, or with undefined after it has said what to do. */
export async function findChromium () {
  if (process.env.CHROMIUM_BIN) return given('CHROMIUM_BIN')
  const found = onPath(...names)
  if (found) return found
  await aptInstall('chromium')
  return onPath(...names) ?? missing()
}

function missing () {
  console.error('The tests drive a real browser. Install Chromium or Google Chrome ' +
    `(${names.join(', ')} on PATH; on Debian: sudo apt-get install chromium), or set CHROMIUM_BIN to its path.`)
}
