// The Redis server that tests start: $REDIS_SERVER_BIN, one on PATH, Debian's package, or what is in that package,
// unpacked into .cache where there is no root.

import { execFileSync } from 'node:child_process'
import { chmodSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { aptInstall, given, isExecutable, onPath } from './programs.mjs'
import { root, run } from './project.mjs'

const names = ['redis-server', 'valkey-server']
const packages = ['redis-server', 'redis-tools', 'libjemalloc2', 'liblzf1', 'libatomic1', 'libssl3']
const cache = join(root, '.cache/redis')
const unpacked = join(cache, 'redis-server')

/** Resolves with a path, or with undefined after it has said what to do. */
export async function findRedis () {
  if (process.env.REDIS_SERVER_BIN) return given('REDIS_SERVER_BIN')
  const found = onPath(...names)
  if (found) return found
  if (isExecutable(unpacked)) return unpacked
  await aptInstall('redis-server')
  return onPath(...names) ?? await unpack() ?? missing()
}

/** Without root: apt with folders of its own, and dpkg only to unpack. */
export async function unpack () {
  const apt = onPath('apt-get')
  if (!apt || !onPath('dpkg')) return
  console.log('Unpacking redis-server (apt-get download)')
  for (const folder of ['lists/partial', 'archives/partial', 'debs', 'root']) mkdirSync(join(cache, folder), { recursive: true })
  const own = ['-qq', '-o', `Dir::State::lists=${join(cache, 'lists')}`, '-o', `Dir::Cache=${cache}`, '-o', 'APT::Sandbox::User=']
  const cwd = join(cache, 'debs')
  if (await run(apt, [...own, 'update'], { cwd }) !== 0) return
  if (await run(apt, [...own, 'download', ...packages], { cwd }) !== 0) return
  for (const file of readdirSync(cwd)) await run('dpkg', ['-x', join(cwd, file), join(cache, 'root')])
  writeFileSync(unpacked, '#!/bin/sh\nhere=$(dirname "$0")/root\n' +
    'LD_LIBRARY_PATH=$(echo "$here"/usr/lib/*-linux-gnu*):$LD_LIBRARY_PATH exec "$here/usr/bin/redis-server" "$@"\n')
  chmodSync(unpacked, 0o755)
  return runs(unpacked) ? unpacked : undefined
}

function runs (file) {
  try {
    return execFileSync(file, ['--version'], { encoding: 'utf8' }).includes('v=')
  } catch {
    return false
  }
}

function missing () {
  console.error('The tests start real Redis servers. Install Redis 7 or Valkey 7.2 or newer ' +
    `(${names.join(', ')} on PATH; on Debian: sudo apt-get install redis-server), or set REDIS_SERVER_BIN to its path.`)
}
