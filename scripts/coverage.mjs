// The floor below which `npm test` fails. A file that no test loaded counts as uncovered.

import { readFileSync, readdirSync, rmSync, statSync } from 'node:fs'
import { join, relative } from 'node:path'
import { readJson, root } from './project.mjs'

const FLOOR = 95 // % of the lines in lib/
/** Runs as it was built, in a page or in a process of its own, where nobody counts lines: `npm run test:full` drives it. */
const ELSEWHERE = /^lib\/(inspector\/page|command)\//
const SUMMARY = '.tap/report/coverage-summary.json'

export function forgetCoverage () {
  rmSync(join(root, SUMMARY), { force: true })
}

export function checkCoverage () {
  const measured = readSummary()
  let total = 0
  let covered = 0
  for (const file of sources()) {
    const lines = measured.get(file) ?? unloaded(file)
    total += lines.total
    covered += lines.covered
  }
  const percent = total === 0 ? 0 : 100 * covered / total
  console.log(`${percent.toFixed(1)} % of the lines in lib/ are covered; the floor is ${FLOOR} %`)
  return percent >= FLOOR
}

function readSummary () {
  if (!statSync(join(root, SUMMARY), { throwIfNoEntry: false })) return new Map()
  const { total, ...files } = readJson(SUMMARY)
  return new Map(Object.entries(files).map(([file, { lines }]) => [relative(root, file), lines]))
}

function sources () {
  return readdirSync(join(root, 'lib'), { recursive: true })
    .filter((file) => file.endsWith('.ts'))
    .map((file) => join('lib', file).replaceAll('\\', '/'))
    .filter((file) => !ELSEWHERE.test(file))
}

function unloaded (file) {
  if (isTypesOnly(file)) return { total: 0, covered: 0 }
  console.log(`No test loads ${file}`)
  return { total: readFileSync(join(root, file), 'utf8').trimEnd().split('\n').length, covered: 0 }
}

/** Types leave nothing behind in the built file but what marks it as a module. */
function isTypesOnly (file) {
  const built = readFileSync(join(root, file.replace(/^lib/, 'dist').replace(/\.ts$/, '.js')), 'utf8')
  const mark = 'Object.defineProperty(exports, "__esModule", { value: true });'
  return built.replace(/\/\*[^]*?\*\/|\/\/.*/g, '').replace('"use strict";', '').replace(mark, '').trim() === ''
}
