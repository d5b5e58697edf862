// Lets Node run the project's TypeScript: node --import ./scripts/typescript.mjs. tap's own way transpiles all of lib/ anew in
// each test's process, which took most of the time of `npm test`; this one does it once per version of a file.

import { createHash } from 'node:crypto'
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { createRequire, register } from 'node:module'
import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { isMainThread } from 'node:worker_threads'

const root = fileURLToPath(new URL('../', import.meta.url))
const cache = join(root, '.cache/transpiled')
const config = join(root, 'tsconfig.json')
const settings = readFileSync(config, 'utf8')
const require = createRequire(import.meta.url)
const { version } = require('typescript/package.json')

/** In place of what tsconfig.json says of files that are written to disk. */
const AS_IT_RUNS = {
  noEmit: false,
  rewriteRelativeImportExtensions: false,
  declaration: false,
  declarationMap: false,
  sourceMap: false,
  inlineSourceMap: true,
  inlineSources: true
}

// Node runs the hooks below in a thread of their own.
if (isMainThread) register(import.meta.url)

export async function load (url, context, next) {
  if (!/^file:.*\.ts$/.test(url) || url.includes('/node_modules/')) return await next(url, context)
  return { format: 'module', shortCircuit: true, source: transpiled(fileURLToPath(url)) }
}

/** One text is kept for each file. Its last line says what it was made of. */
function transpiled (file) {
  const source = readFileSync(file, 'utf8')
  const mark = `\n// ${createHash('sha256').update([version, settings, source].join('\0')).digest('hex')}`
  const kept = join(cache, encodeURIComponent(relative(root, file)))
  const before = readKept(kept)
  if (before?.endsWith(mark)) return before
  const output = transpile(file, source) + mark
  keep(kept, output)
  return output
}

function readKept (file) {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return undefined
  }
}

/** The source map is a part of it: coverage is counted in the lines of the .ts file. */
function transpile (fileName, source) {
  const ts = require('typescript')
  const { compilerOptions } = ts.readConfigFile(config, ts.sys.readFile).config
  const { options } = ts.convertCompilerOptionsFromJson(compilerOptions, root)
  const how = { ...options, ...AS_IT_RUNS, module: ts.ModuleKind.ESNext }
  return ts.transpileModule(source, { fileName, compilerOptions: how }).outputText
}

/** Two processes may write it at one time: each reader sees a whole file. */
function keep (file, text) {
  mkdirSync(cache, { recursive: true })
  const own = `${file}.${process.pid}`
  writeFileSync(own, text)
  renameSync(own, file)
}
