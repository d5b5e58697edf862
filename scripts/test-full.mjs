// npm run test:full [-- <part of a check's name>]: what is long, or needs more than the tests do. It installs what only it
// needs (consumers/). Its last line is "N passed, N failed, N skipped".

import { execFile, execFileSync, spawn } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { pathToFileURL } from 'node:url'
import { findBrowsers } from './browsers.mjs'
import { findChromium } from './chromium.mjs'
import { findInterpreters } from './interpreters.mjs'
import { findPrometheus } from './prometheus.mjs'
import { findProxies } from './proxies.mjs'
import { findRedis } from './redis.mjs'
import { bin, install, node, npm, readJson, requireNode, root } from './project.mjs'

const folder = join(root, 'consumers')
const modules = join(folder, 'node_modules')
const built = join(root, '.cache/full')
/** What there is to say of the proxies of docs/guides/proxies.md. */
let missingProxies
const totals = { passed: 0, failed: 0, skipped: 0 }

/** How TypeScript looks for the package, and how it is told to. */
const RESOLUTIONS = {
  'node10, CommonJS': { typescript: 'typescript', type: 'commonjs', module: 'commonjs', moduleResolution: 'node10' },
  'node16, CommonJS': { typescript: 'typescript', type: 'commonjs', module: 'node16', moduleResolution: 'node16' },
  'node16, ES modules': { typescript: 'typescript', type: 'module', module: 'node16', moduleResolution: 'node16' },
  'nodenext, ES modules': { typescript: 'typescript-6', type: 'module', module: 'nodenext', moduleResolution: 'nodenext' },
  'nodenext, CommonJS': { typescript: 'typescript-6', type: 'commonjs', module: 'nodenext', moduleResolution: 'nodenext' },
  bundler: { typescript: 'typescript-6', type: 'module', module: 'esnext', moduleResolution: 'bundler' }
}

const checks = {
  'consumers/ has the dependencies that the package has': sameDependencies,
  'the proxies of the guide are here, or could not be installed': () => missingProxies,
  'Jest loads it': () => runs(['node_modules/jest/bin/jest.js', '--rootDir', folder, '--testMatch', '**/jest.test.cjs'], /Tests: +1 passed/),
  'Vitest loads it': () => runs(['node_modules/vitest/vitest.mjs', 'run', '--root', folder, 'vitest.test.mjs'], /1 passed/),
  'node:test loads it, and both ways of loading give one instance': () => runs(['--test', 'node.test.mjs'], /pass 2/),
  "the suite passes an adapter of one's own": () => runs(['--test', 'conformance.test.mjs'], /fail 0/),
  'AsyncAPI documents are valid by its own parser': () => runs(['--test', 'asyncapi.test.mjs'], /fail 0/),
  'the Redis adapter keeps its contract on ioredis 5': onIoredis5,
  'API pages are made of the types, without a warning': () => runs([join(root, 'scripts/api-docs.mjs')], /index\.html/),
  'Nest registers it': () => runs(['nest.cjs'], /^status$/m),
  'the recipes of docs/guides/ are those that are run here': sameRecipes,
  'tRPC: a subscription resumes where it was cut': () => recipe('trpc'),
  'GraphQL: subscriptions go on where they were, and leave nothing behind': () => recipe('graphql'),
  'Nest: @Sse() of a topic resumes where it was cut, and ends at once': async () => await compiled('nest.ts') ?? await recipe('nest'),
  'React, Vue and Svelte: one connection, every event once, and a server that renders opens nothing': () => client('frameworks/frameworks'),
  'the client alone, by esbuild, Vite and webpack: its size, and nothing that is not used': () => client('client/sizes'),
  'the client in this Node with ws, and in Node 22, Deno and Bun as they are': () => client('client/runtimes'),
  'AI clients: openai, and a parser over fetch': () => clients('openai'),
  'AI clients: useChat of AI SDK 6, in a browser': () => clients('use-chat', { AI_SDK: '6' }),
  'AI clients: useChat of AI SDK 7, in a browser': () => clients('use-chat', { AI_SDK: '7' }),
  'AI clients: TanStack AI, in a browser': () => clients('tanstack'),
  'AI clients: assistant-ui, in a browser': () => clients('assistant-ui'),
  'AI clients: useChat in a storm': () => clients('use-chat-storm'),
  'esbuild bundles it as CommonJS': () => bundles('esbuild', 'cjs'),
  'esbuild bundles it as an ES module': () => bundles('esbuild', 'esm'),
  'webpack bundles it': () => bundles('webpack', 'cjs'),
  ...Object.fromEntries(Object.entries(RESOLUTIONS).map(([name, how]) => [`it is typed under ${name}`, () => typed(name, how)]))
}

/** Snippets of the guides that need what only consumers/ has. test/docs/snippets.test.ts runs all others. */
const RECIPES = ['graphql-pubsub.mjs', 'graphql.mjs', 'nest.ts', 'react.mjs', 'svelte.mjs', 'trpc.mjs', 'vue.mjs']
const recipes = join(built, 'recipes')

requireNode()
process.exitCode = await main() ? 0 : 1

async function main () {
  const ready = await prepare()
  if (ready && wanted('the long tests')) await longTests()
  if (ready) await allChecks()
  else totals.failed++
  console.log(`${totals.passed} passed, ${totals.failed} failed, ${totals.skipped} skipped`)
  return totals.failed === 0
}

/** One a core, where there are two: each of them has files and ports of its own. */
async function allChecks () {
  const left = Object.entries(checks).filter(([name]) => wanted(name))
  const worker = async () => {
    for (let next = left.shift(); next; next = left.shift()) await tell(...next)
  }
  await Promise.all([worker(), worker()])
}

function wanted (name) {
  return name.includes(process.argv[2] ?? '')
}

/** What the reporter counts is passed on when all is done. */
async function longTests () {
  const files = readdirSync(join(root, 'test'), { recursive: true }).filter((file) => file.endsWith('.full.test.ts')).map((file) => join('test', file))
  const child = spawn(process.execPath, [bin('tap'), '--disable-coverage', '--jobs=2', '--timeout=600', ...files], { cwd: root, stdio: ['ignore', 'pipe', 'inherit'] })
  for await (const line of createInterface({ input: child.stdout })) {
    const last = /^(\d+) passed, (\d+) failed, (\d+) skipped$/.exec(line)
    if (!last) console.log(line)
    else [totals.passed, totals.failed, totals.skipped] = last.slice(1).map(Number)
  }
}

async function prepare () {
  if (await install() !== 0 || await node(['scripts/build.mjs', '--if-changed']) !== 0) return false
  if (await node(['scripts/build.mjs', 'examples', '--if-changed']) !== 0) return false
  for (const [variable, search] of Object.entries({ CHROMIUM_BIN: findChromium, REDIS_SERVER_BIN: findRedis, PROMETHEUS_BIN: findPrometheus })) {
    const program = await search()
    if (!program) return false
    process.env[variable] = program
  }
  if (!await findInterpreters() || !await findBrowsers()) return false
  missingProxies = await findProxies()
  if (!existsSync(join(modules, '.package-lock.json')) && await npm(['ci', '--prefix', 'consumers', '--ignore-scripts', '--no-audit', '--no-fund']) !== 0) return false
  return await unpack() && await writeRecipes()
}

/** The package as npm would install it, where the consumers find it. */
async function unpack () {
  rmSync(built, { recursive: true, force: true })
  mkdirSync(built, { recursive: true })
  if (await npm(['pack', '--ignore-scripts', '--silent', '--pack-destination', built], { stdio: ['ignore', 'ignore', 'inherit'] }) !== 0) return false
  const target = join(modules, 'fastify-realtime')
  rmSync(target, { recursive: true, force: true })
  mkdirSync(target, { recursive: true })
  execFileSync('tar', ['-xzf', join(built, readdirSync(built).find((file) => file.endsWith('.tgz'))), '-C', target, '--strip-components=1'])
  return true
}

/** Where they find the packages and each other. */
async function writeRecipes () {
  mkdirSync(recipes)
  symlinkSync(modules, join(recipes, 'node_modules'), 'junction')
  for (const [file, code] of await recipesOfGuides()) writeFileSync(join(recipes, file), code)
  return true
}

/** By the reader that the tests have, which is TypeScript. */
async function recipesOfGuides () {
  const { buildSync } = await import(join(modules, 'esbuild/lib/main.js'))
  const [source, outfile] = [join(root, 'test/helpers/docs.ts'), join(built, 'docs.mjs')]
  buildSync({ entryPoints: [source], outfile, format: 'esm', define: { 'import.meta.url': JSON.stringify(pathToFileURL(source)) } })
  const { readSnippets, recipePages } = await import(pathToFileURL(outfile))
  return readSnippets(recipePages)
}

async function sameRecipes () {
  const found = [...(await recipesOfGuides()).keys()].sort()
  return JSON.stringify(found) === JSON.stringify(RECIPES) ? undefined : `the guides have ${found}; here are checks for ${RECIPES}`
}

/** As a Nest project does it: decorators that say of what type things are. What the compiler says, or undefined. */
function compiled (file) {
  writeFileSync(join(recipes, 'tsconfig.json'), JSON.stringify({
    compilerOptions: {
      target: 'es2022', lib: ['es2023'], types: ['node'], module: 'nodenext', strict: true, skipLibCheck: true, experimentalDecorators: true, emitDecoratorMetadata: true
    },
    files: [file]
  }))
  return runs([join(modules, 'typescript/bin/tsc'), '-p', recipes])
}

function recipe (name) {
  return runs(['--test', '--test-timeout=60000', `recipes/${name}.test.mjs`], /pass [1-9]/, { env: { ...process.env, PORT: '0' } })
}

function client (name, env) {
  return runs(['--test', '--test-timeout=120000', `${name}.test.mjs`], /pass [1-9]/, { env: { ...process.env, ...env } })
}

function clients (name, env) {
  return runs(['--test', '--test-timeout=200000', `ai/${name}.test.mjs`], /pass [1-9]/, { env: { ...process.env, ...env } })
}

async function tell (name, check) {
  const start = performance.now()
  let fault
  try {
    fault = await check()
  } catch (error) {
    fault = error.stack
  }
  console.log(`${fault ? '✗' : '✓'} ${name} (${Math.round(performance.now() - start)} ms)`)
  if (fault) console.log(fault)
  totals[fault ? 'failed' : 'passed']++
}

/** Runs Node in consumers/; what went wrong, or undefined. */
async function runs (args, expected, options = {}) {
  const { code, output } = await ran(args, { cwd: folder, timeout: 300_000, ...options })
  if (code === 0 && (!expected || expected.test(output))) return undefined
  return `${args.join(' ')}: exit code ${code}\n${output}`
}

function ran (args, options) {
  return new Promise((resolve) => {
    execFile(process.execPath, args, { maxBuffer: 64 << 20, ...options }, (error, stdout, stderr) => {
      resolve({ code: error ? error.code ?? error.signal : 0, output: stdout + stderr })
    })
  })
}

function sameDependencies () {
  const { dependencies } = readJson('package.json')
  const own = readJson('consumers/package.json').dependencies
  return JSON.stringify(dependencies) === JSON.stringify(own) ? undefined : 'copy "dependencies" of package.json into consumers/package.json, and run npm install there'
}

async function bundles (bundler, format) {
  const outfile = join(built, `${bundler}.${format}.${format === 'esm' ? 'mjs' : 'cjs'}`)
  const entry = join(folder, 'bundled.mjs')
  if (bundler === 'esbuild') {
    // Some dependencies of the app's (ioredis) call require: an ES module has none by itself.
    const banner = format === 'esm' ? { js: "import { createRequire as createRequireOfBundle } from 'node:module'; const require = createRequireOfBundle(import.meta.url)" } : {}
    const { build } = await import(join(modules, 'esbuild/lib/main.js'))
    // Without the repository's tsconfig.json, which has lib/ stand for the package.
    await build({ entryPoints: [entry], bundle: true, platform: 'node', format, outfile, logLevel: 'error', banner, tsconfigRaw: {} })
  } else await packed(entry, outfile)
  return runs([outfile], /^status function$/m)
}

async function packed (entry, outfile) {
  const { default: webpack } = await import(join(modules, 'webpack/lib/index.js'))
  const name = outfile.slice(built.length + 1)
  const stats = await new Promise((resolve, reject) => {
    webpack({ entry, target: 'node20', mode: 'development', devtool: false, output: { path: built, filename: name } }, (error, stats) => error ? reject(error) : resolve(stats))
  })
  if (stats.hasErrors()) throw new Error(stats.toString('errors-only'))
}

/** A project of its own for each way; libraries are checked too. */
async function typed (name, { typescript, type, module, moduleResolution }) {
  const project = join(folder, `.types-${name.replace(/\W+/g, '-')}`)
  rmSync(project, { recursive: true, force: true })
  mkdirSync(project, { recursive: true })
  cpSync(join(folder, 'types'), project, { recursive: true })
  writeFileSync(join(project, 'package.json'), JSON.stringify({ type }))
  writeFileSync(join(project, 'tsconfig.json'), JSON.stringify({
    compilerOptions: { target: 'es2022', lib: ['es2023'], types: ['node'], module, moduleResolution, strict: true, esModuleInterop: true, skipLibCheck: false, noEmit: true },
    files: ['app.ts']
  }))
  const { code, output } = await ran([join(modules, typescript, 'bin/tsc'), '-p', project], {})
  rmSync(project, { recursive: true, force: true })
  return code === 0 ? undefined : output
}

/** A tree of its own, in which ioredis is the version before; all else is linked to what is installed. */
async function onIoredis5 () {
  const tree = join(built, 'ioredis-5')
  mkdirSync(join(tree, 'node_modules'), { recursive: true })
  for (const name of readdirSync(modules)) if (name !== 'ioredis' && !name.startsWith('.')) linkOrCopy(name, tree)
  symlinkSync(join(modules, 'ioredis-5'), join(tree, 'node_modules/ioredis'))
  cpSync(join(folder, 'conformance.test.mjs'), join(tree, 'conformance.test.mjs'))
  const server = spawn(process.env.REDIS_SERVER_BIN, ['--port', '0', '--unixsocket', join(built, 'redis.sock'), '--save', ''], { stdio: 'ignore' })
  try {
    return await runs(['--test', 'conformance.test.mjs'], /ioredis 5[^]*fail 0/, { cwd: tree, env: { ...process.env, REDIS_SOCKET: join(built, 'redis.sock') } })
  } finally {
    server.kill('SIGKILL')
  }
}

/** The package itself is copied: a link would find ioredis where it is linked to. */
function linkOrCopy (name, tree) {
  const [from, to] = [join(modules, name), join(tree, 'node_modules', name)]
  if (name === 'fastify-realtime') cpSync(from, to, { recursive: true })
  else symlinkSync(from, to)
}
