// The browsers that the long tests drive besides Chromium: Firefox, and WebKitGTK on a screen that nobody sees. Each is what
// an environment variable names, one on PATH, or Debian's package.

import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { aptInstall, given, isExecutable, onPath } from './programs.mjs'

const programs = {
  FIREFOX_BIN: { package: 'firefox-esr', find: () => onPath('firefox', 'firefox-esr') },
  WEBKIT_DRIVER_BIN: { package: 'webkit2gtk-driver', find: () => onPath('WebKitWebDriver') },
  WEBKIT_BIN: { package: 'webkit2gtk-driver', find: miniBrowser },
  XVFB_BIN: { package: 'xvfb', find: () => onPath('Xvfb') }
}

/** Sets the variables; false after it has said what to do. */
export async function findBrowsers () {
  for (const [variable, { package: debian, find }] of Object.entries(programs)) {
    const program = process.env[variable] ? given(variable) : await found(find, debian)
    if (!program) return missing(variable, debian)
    process.env[variable] = program
  }
  return true
}

async function found (find, debian) {
  return find() ?? (await aptInstall(debian) ? find() : undefined)
}

/** WebKitGTK's own browser lies where its library does, and not on PATH. */
function miniBrowser () {
  return ['/usr/lib', '/usr/libexec'].flatMap((folder) => foldersIn(folder).flatMap((name) => [name, ...foldersIn(name)]))
    .filter((folder) => /webkit2?gtk-[\d.]+$/.test(folder))
    .map((folder) => join(folder, 'MiniBrowser'))
    .find(isExecutable)
}

function foldersIn (folder) {
  try {
    return readdirSync(folder, { withFileTypes: true }).filter((entry) => entry.isDirectory()).map(({ name }) => join(folder, name))
  } catch {
    return []
  }
}

function missing (variable, debian) {
  console.error(`The long tests drive Firefox and WebKitGTK: install ${debian} (on Debian: sudo apt-get install ${debian}), or set ${variable} to its path.`)
  return false
}
