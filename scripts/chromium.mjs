// The Chromium that browser tests drive: $CHROMIUM_BIN, one on PATH, or Debian's package.

import { accessSync, constants, existsSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { run } from './project.mjs'

const names = ['chromium', 'chromium-browser', 'google-chrome']

/** Resolves with a path, or with undefined after it has said what to do. */
export async function findChromium () {
  if (process.env.CHROMIUM_BIN) return given(process.env.CHROMIUM_BIN)
  return onPath(...names) ?? await aptInstall() ?? missing()
}

function given (file) {
  if (isExecutable(file)) return file
  console.error(`CHROMIUM_BIN is "${file}", which is not a program.`)
}

async function aptInstall () {
  const apt = onPath('apt-get')
  if (!apt || process.getuid?.() !== 0) return
  console.log('Installing chromium (apt-get)')
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
  await run(apt, ['update', '-qq'], { env })
  await run(apt, ['install', '-y', '-qq', '--no-install-recommends', 'chromium'], { env })
  return onPath(...names)
}

function missing () {
  console.error('The tests drive a real browser. Install Chromium or Google Chrome ' +
    `(${names.join(', ')} on PATH; on Debian: sudo apt-get install chromium), or set CHROMIUM_BIN to its path.`)
}

function onPath (...names) {
  const folders = (process.env.PATH ?? '').split(delimiter)
  return names.flatMap((name) => folders.map((folder) => join(folder, name))).find(isExecutable)
}

function isExecutable (file) {
  try {
    accessSync(file, constants.X_OK)
    return existsSync(file)
  } catch {
    return false
  }
}
