/** The command as a program of its own: the built package (npm run build). */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'

const main = fileURLToPath(new URL('../../dist/command/main.js', import.meta.url))

/** Started, and ended with its test. */
export function start (t: Test, ...args: string[]) {
  const { NODE_OPTIONS, NODE_V8_COVERAGE, ...env } = process.env
  const child = spawn(process.execPath, [main, ...args], { env, stdio: ['ignore', 'pipe', 'pipe'] })
  const lines: string[] = []
  const said: string[] = []
  let look = (): void => {}
  createInterface({ input: child.stdout }).on('line', (line) => { lines.push(line); look() })
  createInterface({ input: child.stderr }).on('line', (line) => { said.push(line); look() })
  const ended = once(child, 'close').then(([code]) => code as number)
  t.teardown(async () => {
    child.kill('SIGKILL')
    await ended
  })
  const until = async (what: string, holds: () => boolean): Promise<void> => await new Promise((resolve, reject) => {
    look = () => { if (holds()) resolve() }
    ended.then(() => holds() ? resolve() : reject(new Error(`it ended before ${what}: ${lines.join()} / ${said.join()}`)), reject)
    look()
  })
  const saying = async (pattern: RegExp): Promise<void> => await until(String(pattern), () => said.some((line) => pattern.test(line)))
  return { child, lines, said, ended, until, saying }
}
