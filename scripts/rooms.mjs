// node scripts/rooms.mjs           prints the rooms of lib/ and their arrows (types count), as a Mermaid graph
// node scripts/rooms.mjs --write   puts it into CONTRIBUTING.md

import { readFileSync, readdirSync, writeFileSync } from 'node:fs'
import { join, posix } from 'node:path'
import { root } from './project.mjs'

const START = '<!-- rooms: made by `node scripts/rooms.mjs --write` -->'
const END = '<!-- /rooms -->'
const IMPORT = /(?:from|import\()\s*'(\.[^']+)'/g
/** Whoever may load anything, or is loaded by everybody, would hide the others. */
const LEFT_OUT = new Set(['index.ts', 'plugin.ts', 'realtime.ts', 'errors.ts', 'known.ts', 'types'])

/** The hub composes the rooms of core; what else lies directly in core/ is beneath all of them. */
const ALONE = /^[^/]+$|^core\/hub\.ts$/

function roomOf (file) {
  const folder = posix.dirname(file)
  return ALONE.test(file) ? file : folder.startsWith('wires/websocket') ? 'wires/websocket' : folder
}

function arrows () {
  const found = new Map()
  for (const name of readdirSync(join(root, 'lib'), { recursive: true })) {
    const file = name.replaceAll('\\', '/')
    if (!file.endsWith('.ts')) continue
    for (const [, to] of readFileSync(join(root, 'lib', file), 'utf8').matchAll(IMPORT)) add(found, roomOf(file), roomOf(posix.join(posix.dirname(file), to)))
  }
  return found
}

function add (found, from, to) {
  if (from === to || LEFT_OUT.has(from) || LEFT_OUT.has(to)) return
  found.set(from, (found.get(from) ?? new Set()).add(to))
}

/** Without those that follow from others. */
function direct (from, found) {
  const all = [...found.get(from)]
  return all.filter((to) => !all.some((via) => via !== to && reaches(via, to, found, new Set([from])))).sort()
}

/** `seen`: folders of one room import each other. */
function reaches (from, to, found, seen) {
  if (seen.has(from)) return false
  seen.add(from)
  return [...found.get(from) ?? []].some((next) => next === to || reaches(next, to, found, seen))
}

function drawing () {
  const found = arrows()
  const lines = [...found.keys()].sort().flatMap((from) => direct(from, found).map((to) => `  ${idOf(from)}["${from}"] --> ${idOf(to)}["${to}"]`))
  return ['```mermaid', 'graph TD', ...lines, '```'].join('\n')
}

function idOf (room) {
  return room.replace(/\W/g, '_')
}

const path = join(root, 'CONTRIBUTING.md')
if (process.argv[2] === '--write') {
  const [before, rest = ''] = readFileSync(path, 'utf8').split(START)
  const [, after = ''] = rest.split(END)
  writeFileSync(path, `${before}${START}\n${drawing()}\n${END}${after}`)
} else console.log(drawing())
