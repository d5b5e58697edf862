// Programs that tests need besides Node: found on PATH, or installed by apt where that is allowed.

import { accessSync, constants, existsSync, rmSync, writeFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { run } from './project.mjs'

export function onPath (...names) {
  const folders = (process.env.PATH ?? '').split(delimiter)
  return names.flatMap((name) => folders.map((folder) => join(folder, name))).find(isExecutable)
}

export function isExecutable (file) {
  try {
    accessSync(file, constants.X_OK)
    return existsSync(file)
  } catch {
    return false
  }
}

/** The program that an environment variable names; undefined, with a word, when there is none of that name. */
export function given (variable) {
  const file = process.env[variable]
  if (isExecutable(file)) return file
  console.error(`${variable} is "${file}", which is not a program.`)
}

/** Installs a Debian package, as root alone; resolves with whether it could be tried. */
export async function aptInstall (name) {
  const apt = onPath('apt-get')
  if (!apt || process.getuid?.() !== 0) return false
  console.log(`Installing ${name} (apt-get)`)
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive', RUNLEVEL: '1' }
  await run(apt, ['update', '-qq'], { env })
  await withoutServices(() => run(apt, ['install', '-y', '-qq', '--no-install-recommends', name], { env }))
  return true
}

/** Packages of servers start them, unless Debian's policy file says no. One that is there already is left alone. */
async function withoutServices (install) {
  const policy = '/usr/sbin/policy-rc.d'
  if (existsSync(policy)) return await install()
  writeFileSync(policy, '#!/bin/sh\nexit 101\n', { mode: 0o755 })
  try {
    return await install()
  } finally {
    rmSync(policy, { force: true })
  }
}
