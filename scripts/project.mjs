// What the other scripts share. It needs nothing but Node.

import { spawn } from 'node:child_process'
import { readFileSync, readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const root = fileURLToPath(new URL('..', import.meta.url))

/** Runs a program in the repository and resolves with its exit code. */
export function run (program, args, options = {}) {
  return new Promise((resolve) => {
    const child = spawn(program, args, { cwd: root, stdio: ['ignore', 'inherit', 'inherit'], ...options })
    child.once('error', (error) => {
      console.error(`${program}: ${error.message}`)
      resolve(1)
    })
    child.once('close', (code) => resolve(code ?? 1))
  })
}

export function node (args, options) {
  return run(process.execPath, args, options)
}

export function npm (args, options) {
  const cli = process.env.npm_execpath
  return cli?.endsWith('.js')
    ? node([cli, ...args], options)
    : run('npm', args, { shell: process.platform === 'win32', ...options })
}

/** The file that `npx <command>` would run. */
export function bin (name, command = name) {
  const { bin } = readJson(`node_modules/${name}/package.json`)
  return join(root, 'node_modules', name, typeof bin === 'string' ? bin : bin[command])
}

export function requireNode () {
  const wanted = readJson('package.json').engines.node.match(/\d+/g).map(Number)
  const have = process.versions.node.split('.').map(Number)
  if (have[0] > wanted[0] || (have[0] === wanted[0] && have[1] >= wanted[1])) return
  console.error(`Node ${wanted.join('.')} or newer is required, but this is ${process.version}.`)
  process.exit(1)
}

/** Makes node_modules what package-lock.json says; resolves with an exit code. */
export async function install () {
  if (isInstalled()) return 0
  console.log('Installing the dependencies (npm ci, about 30 s)')
  return npm(['ci', '--ignore-scripts', '--no-audit', '--no-fund'])
}

function isInstalled () {
  if (!statSync(join(root, 'node_modules/.package-lock.json'), { throwIfNoEntry: false })) return false
  const installed = readJson('node_modules/.package-lock.json').packages
  const { '': _, ...wanted } = readJson('package-lock.json').packages
  return Object.entries(wanted).every(([path, { version, optional }]) =>
    installed[path] ? installed[path].version === version : optional)
}

/** When something in a file or folder was last changed, added or removed; 0 where there is none. */
export function lastChange (path) {
  const stat = statSync(join(root, path), { throwIfNoEntry: false })
  if (!stat?.isDirectory()) return stat?.mtimeMs ?? 0
  const inside = readdirSync(join(root, path)).map((name) => lastChange(join(path, name)))
  return Math.max(stat.mtimeMs, ...inside)
}

export function readJson (path) {
  return JSON.parse(readFileSync(join(root, path), 'utf8'))
}
