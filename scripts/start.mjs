// npm start [-- <example>]: installs and builds what is missing, then runs an example (default: petstore).

import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { install, node, requireNode, root } from './project.mjs'

const [example = 'petstore', ...args] = process.argv.slice(2)

requireNode()
if (!isExample(example)) {
  console.error(`There is no example "${example}". The examples are: ${readdirSync(join(root, 'examples')).filter(isExample).join(', ')}`)
  process.exit(1)
}
for (const step of [install, buildPackage, buildExamples]) {
  const code = await step()
  if (code !== 0) process.exit(code)
}

// In this process, so that signals, exit codes and the terminal are the server's own.
const server = join(root, '.cache/examples', example, 'server.js')
process.argv = [process.execPath, server, ...args]
await import(pathToFileURL(server).href)

function isExample (name) {
  return existsSync(join(root, 'examples', name, 'server.ts'))
}

function buildPackage () {
  return node(['scripts/build.mjs', '--if-changed'])
}

function buildExamples () {
  return node(['scripts/build.mjs', 'examples', '--if-changed'])
}
