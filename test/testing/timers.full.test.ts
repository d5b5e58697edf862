/** The test kit in tests whose timers stand still: what was published is heard, and what never comes is not waited for for ever. */
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import t from 'tap'

t.setTimeout(600_000)

const SCRIPT = fileURLToPath(new URL('./faked.ts', import.meta.url))
const run = promisify(execFile)

for (const clock of ['no clock', 'node:test', 'globals', 'globals and node:timers']) {
  for (const when of ['before it is loaded', 'once it is loaded', 'once clients are there']) {
    t.test(`${clock}, ${when}`, async (t) => {
      for (const how of ['in memory', 'listening']) {
        const { stdout } = await run(process.execPath, [...process.execArgv, SCRIPT, clock, when, how], { timeout: 100_000 })
        t.same(JSON.parse(stdout), [1, 1, 'answer', 1, 200, 'no "never": not within 50 ms', 'no "never": not within 50 ms'], how)
      }
    })
  }
}
