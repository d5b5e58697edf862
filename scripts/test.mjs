// npm test [-- <arguments for tap>]: installs what is missing and checks everything, up to the first step that fails.
// The last line of the output is always "N passed, N failed, N skipped".

import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { findChromium } from './chromium.mjs'
import { findCurl } from './curl.mjs'
import { findRedis } from './redis.mjs'
import { checkCoverage, forgetCoverage } from './coverage.mjs'
import { bin, install, node, requireNode, root } from './project.mjs'

const args = process.argv.slice(2)
const totals = { passed: 0, failed: 0, skipped: 0 }

const steps = {
  'install dependencies': install,
  'find a browser': () => find('CHROMIUM_BIN', findChromium),
  'find a Redis server': () => find('REDIS_SERVER_BIN', findRedis),
  'find curl': () => find('CURL_BIN', findCurl),
  'build the package': () => node(['scripts/build.mjs']),
  'build the examples': () => node(['scripts/build.mjs', 'examples']),
  // Side by side: each takes one core.
  'lint, check types, test types, check the package': async () => await allOf(
    async () => await inTurn(
      () => node([bin('eslint'), '--max-warnings=0']), () => node([bin('typescript', 'tsc'), '-p', 'tsconfig.json'])
    ),
    async () => await inTurn(() => node([bin('tstyche')]), () => node(['scripts/package.mjs']))
  ),
  test
}

requireNode()
if (!process.stdout.isTTY) process.env.NO_COLOR = '1'
const ok = await runSteps()
if (!ok && totals.failed === 0) totals.failed = 1
console.log(`${totals.passed} passed, ${totals.failed} failed, ${totals.skipped} skipped`)
process.exitCode = ok ? 0 : 1

async function runSteps () {
  for (const [name, step] of Object.entries(steps)) {
    console.log(`\n# ${name}`)
    const start = performance.now()
    const code = await attempt(step)
    const seconds = ((performance.now() - start) / 1000).toFixed(1)
    console.log(`# ${name}: ${code === 0 ? 'ok' : 'FAILED'} (${seconds} s)`)
    if (code !== 0) return false
  }
  return true
}

async function attempt (step) {
  try {
    return await step()
  } catch (error) {
    console.error(error)
    return 1
  }
}

/** Up to the first that fails. */
async function inTurn (...works) {
  for (const work of works) {
    const code = await work()
    if (code !== 0) return code
  }
  return 0
}

async function allOf (...works) {
  const codes = await Promise.all(works.map(async (work) => await work()))
  return codes.find((code) => code !== 0) ?? 0
}

/** Tests are told by the variable. */
async function find (variable, search) {
  const program = await search()
  if (!program) return 1
  process.env[variable] = program
  console.log(program)
  return 0
}

/** Coverage is judged when all tests ran. */
async function test () {
  if (args.length > 0) return tap(args)
  forgetCoverage()
  const code = await tap(['--coverage-report=text', '--coverage-report=json-summary'])
  return checkCoverage() ? code : 1
}

/** Passes on what tap prints, less the reporter's last line: there may be more to say after it. */
async function tap (args) {
  const child = spawn(process.execPath, [bin('tap'), ...args], { cwd: root, stdio: ['ignore', 'pipe', 'inherit'] })
  const closed = new Promise((resolve) => child.once('close', resolve))
  for await (const line of createInterface({ input: child.stdout })) {
    const last = /^(\d+) passed, (\d+) failed, (\d+) skipped$/.exec(line)
    if (!last && !line.startsWith('json-summary report: ')) console.log(line)
    if (last) [totals.passed, totals.failed, totals.skipped] = last.slice(1).map(Number)
  }
  return await closed ?? 1
}
