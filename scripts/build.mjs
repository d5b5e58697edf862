// node scripts/build.mjs [--if-changed]            lib/ to dist/
// node scripts/build.mjs examples [--if-changed]   examples/ to .cache/examples/, which import the built package
//
// What is not TypeScript is copied beside what was compiled.

import { cpSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { bin, lastChange, node, root } from './project.mjs'

const builds = {
  package: { from: 'lib', to: 'dist', config: 'tsconfig.build.json', mark: 'dist/index.js' },
  examples: { from: 'examples', to: '.cache/examples', config: 'tsconfig.examples.json', mark: '.cache/examples/.built' }
}

const { from, to, config, mark } = builds[process.argv.includes('examples') ? 'examples' : 'package']

if (!process.argv.includes('--if-changed') || isStale()) process.exitCode = await build()

function isStale () {
  return [from, config, 'tsconfig.json'].some((path) => lastChange(path) > lastChange(mark))
}

async function build () {
  rmSync(join(root, to), { recursive: true, force: true })
  const code = await node([bin('typescript', 'tsc'), '-p', config])
  if (code !== 0) {
    rmSync(join(root, mark), { force: true })
    return code
  }
  cpSync(join(root, from), join(root, to), { recursive: true, filter: (file) => !/\.(ts|md)$/.test(file) })
  if (from === 'examples') writeFileSync(join(root, mark), '')
  return 0
}
