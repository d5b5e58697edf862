// node scripts/build.mjs [--if-changed]            lib/ to dist/, as CommonJS with an ES module before each entry; the
//                                                  client and the inspector's page, which browsers load, as ES modules
// node scripts/build.mjs examples [--if-changed]   examples/ to .cache/examples/, which import the built package
//
// What is not TypeScript is copied beside what was compiled; of the examples the sources too.

import { cpSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { bin, lastChange, node, readJson, root } from './project.mjs'

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
  console.log(from === 'lib' ? 'Building the package (about 10 s)' : 'Building the examples (about 7 s)')
  rmSync(join(root, to), { recursive: true, force: true })
  if (from === 'lib') declareFormats()
  // The client first: what types of the server it names is emitted with it, and once more, as CommonJS, after it.
  const code = (from === 'lib' && await tsc('tsconfig.client.json')) || await tsc(config)
  if (code !== 0) {
    rmSync(join(root, mark), { force: true })
    return code
  }
  // The pet store shows lines of its own source.
  const left = from === 'examples' ? /\.md$/ : /\.(c?ts|md)$/
  cpSync(join(root, from), join(root, to), { recursive: true, filter: (file) => !left.test(file) })
  if (from === 'examples') writeFileSync(join(root, mark), '')
  else wrapEntries()
  return 0
}

async function tsc (config) {
  return await node([bin('typescript', 'tsc'), '-p', config])
}

/** The package is one of ES modules (tests, scripts); what is built is not, but for what a page loads. */
function declareFormats () {
  writeFormat('', '{ "type": "commonjs" }\n')
  writeFormat('client', '{ "type": "module", "sideEffects": false }\n')
  writeFormat('inspector/page', '{ "type": "module" }\n')
}

function writeFormat (folder, format) {
  mkdirSync(join(root, to, folder), { recursive: true })
  writeFileSync(join(root, to, folder, 'package.json'), format)
}

/**
 * An ES module before each entry, which passes on what the CommonJS one has: whichever way the package is loaded, there is
 * one instance of it.
 */
function wrapEntries () {
  const require = createRequire(join(root, 'package.json'))
  for (const target of Object.values(readJson('package.json').exports)) {
    if (!target.require) continue
    const file = target.require.default
    const name = file.slice(file.lastIndexOf('/'))
    const { default: plugin, ...named } = require(file)
    const names = Object.keys(named)
    // A plugin is its entry's default too, and there under a name, which every way of looking for types understands alike.
    const ofPlugin = names.find((name) => plugin !== undefined && named[name] === plugin)
    writeFileSync(join(root, target.import.default), [
      `import entry from '.${name}'`, `export const { ${names.join(', ')} } = entry`, ...(ofPlugin ? [`export default ${ofPlugin}`] : []), ''
    ].join('\n'))
    writeFileSync(join(root, target.import.types), [
      `export * from '.${name}'`, ...(ofPlugin ? [`export { ${ofPlugin} as default } from '.${name}'`] : []), ''
    ].join('\n'))
  }
}
