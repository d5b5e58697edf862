#!/usr/bin/env node
/** The command `fastify-realtime`. */
import { setMaxListeners } from 'node:events'
import { readFileSync, realpathSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { bench } from './bench.ts'
import { listen } from './listen.ts'
import { say } from './output.ts'
import { HELP, Misuse, readArguments } from './usage.ts'

async function run (args: string[]): Promise<number> {
  const asked = readArguments(args)
  switch (asked.do) {
    case 'listen': return await listen(asked, untilEnough())
    case 'bench': return await bench(asked, untilEnough())
    default:
      process.stdout.write(asked.do === 'help' ? HELP : `${version()}\n`)
      return 0
  }
}

/** The second one ends it the hard way. */
function untilEnough (): AbortSignal {
  const enough = new AbortController()
  // Each client listens to it.
  setMaxListeners(0, enough.signal)
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => enough.abort())
  return enough.signal
}

function version (): string {
  const here = dirname(realpathSync(process.argv[1] ?? ''))
  const { version } = JSON.parse(readFileSync(join(here, '../../package.json'), 'utf8')) as { version: string }
  return version
}

function sentence (text: string): string { return text.endsWith('?') ? text : `${text}.` }

// Whoever read the output has gone (`… | head`): there is nothing left to do.
for (const stream of [process.stdout, process.stderr]) stream.on('error', () => process.exit(0))

run(process.argv.slice(2)).then((code) => {
  process.exitCode = code
}, (error: unknown) => {
  const misused = error instanceof Misuse
  const help = 'fastify-realtime --help says more'
  say(misused ? `${sentence(error.message)} ${help}` : String((error as Error)?.stack ?? error))
  process.exitCode = misused ? 2 : 1
})
