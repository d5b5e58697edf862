// What runs the signers of examples/signers/: on PATH, or Debian's packages.

import { aptInstall, onPath } from './programs.mjs'

const packages = { python3: 'python3', php: 'php-cli', go: 'golang-go' }

/** Resolves with a path for each, or with undefined after it has said what to do. */
export async function findInterpreters () {
  for (const [name, debian] of Object.entries(packages)) {
    if (!onPath(name)) await aptInstall(debian)
    if (onPath(name)) continue
    console.error(`The long tests need ${name}: install it, e.g. "apt-get install ${debian}"`)
    return
  }
  return Object.keys(packages).map((name) => onPath(name)).join(', ')
}
