/** The built package in a tree that has none of its optional peers: what needs one says how to install it. */
import { execFile } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { build } from 'esbuild'
import t, { type Test } from 'tap'
import { loadPeer } from '../lib/peers.ts'
import { root } from './helpers/docs.ts'

const { dependencies, peerDependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
  dependencies: Record<string, string>, peerDependencies: Record<string, string>
}

/** What is tried for each peer, in the program below. */
const USES: Record<string, string> = {
  ioredis: "redis('redis://localhost:6379')",
  'prom-client': 'await registered(metrics)',
  '@opentelemetry/api': 'await registered(tracing)',
  '@fastify/websocket': 'await Fastify().register(realtime, { websocket: {} })'
}

const LOADED = {
  cjs: `
    const { EventEmitter } = require('node:events')
    const Fastify = require('fastify')
    const { default: realtime } = require('fastify-realtime')
    const { redis } = require('fastify-realtime/redis')
    const { default: metrics } = require('fastify-realtime/metrics')
    const { default: tracing } = require('fastify-realtime/tracing')`,
  mjs: `
    import { EventEmitter } from 'node:events'
    import Fastify from 'fastify'
    import realtime from 'fastify-realtime'
    import { redis } from 'fastify-realtime/redis'
    import metrics from 'fastify-realtime/metrics'
    import tracing from 'fastify-realtime/tracing'`
}

/** Prints what each use ends with, and the name of an adapter that was given a client. */
const program = (format: keyof typeof LOADED): string => `${LOADED[format]}
  async function registered (plugin) {
    const app = Fastify()
    await app.register(realtime)
    await app.register(plugin)
  }
  class Client extends EventEmitter {
    options = {}
    duplicate () { return new Client() }
  }
  const uses = {
    ${Object.entries(USES).map(([name, use]) => `'${name}': async () => { ${use} }`).join(',\n')}
  }
  async function main () {
    const answers = { client: redis({ client: new Client() }).name }
    for (const [name, use] of Object.entries(uses)) {
      answers[name] = await use().then(() => 'nothing', ({ code, message }) => ({ code, message }))
    }
    console.log(JSON.stringify(answers))
  }
  main()
`

/** Outside the repository: Node would find the peers in a folder above. */
const tree = realpathSync(mkdtempSync(join(tmpdir(), 'no-peers-')))
t.teardown(() => rmSync(tree, { recursive: true, force: true }))

const installed = join(tree, 'node_modules/fastify-realtime')
mkdirSync(installed, { recursive: true })
cpSync(join(root, 'dist'), join(installed, 'dist'), { recursive: true })
cpSync(join(root, 'package.json'), join(installed, 'package.json'))
for (const name of ['fastify', ...Object.keys(dependencies)]) link(name)

function link (name: string): void {
  const to = join(tree, 'node_modules', name)
  mkdirSync(dirname(to), { recursive: true })
  symlinkSync(join(root, 'node_modules', name), to)
}

async function answersOf (file: string): Promise<Record<string, unknown>> {
  // What tap sets for its own children is not meant for this one.
  const { NODE_OPTIONS, NODE_TEST_CONTEXT, NODE_V8_COVERAGE, ...env } = process.env
  const { stdout } = await promisify(execFile)(process.execPath, [join(tree, file)], { cwd: tree, env })
  return JSON.parse(stdout) as Record<string, unknown>
}

function write (format: keyof typeof LOADED): string {
  const file = `app.${format}`
  writeFileSync(join(tree, file), program(format))
  return file
}

function checkAnswers (t: Test, answers: Record<string, unknown>): void {
  for (const name of Object.keys(USES)) {
    t.match(answers[name], { code: 'FST_ERR_REALTIME_PEER_MISSING', message: `Run: npm install ${name}` }, name)
    t.match(answers[name], { message: `Cannot find module '${name}'` }, name)
  }
}

t.test('each optional peer of the package is tried here', async (t) => {
  t.same(Object.keys(USES).sort(), Object.keys(peerDependencies).sort())
})

for (const format of ['cjs', 'mjs'] as const) {
  t.test(`${format}: what needs a peer that is missing says how to install it`, async (t) => {
    const answers = await answersOf(write(format))
    checkAnswers(t, answers)
    t.equal(answers.client, 'redis', 'an app that gives its own client needs no ioredis here')
  })
}

t.test('a peer that throws while it is loaded is the same error, whatever it throws', async (t) => {
  const thrown = { 'new Error("it is broken\\nin two lines")': 'it is broken', null: 'null', '"a text"': 'a text', 'Object.create(null)': '' }
  for (const [what, why] of Object.entries(thrown)) {
    const name = `data:text/javascript,throw ${encodeURIComponent(what)}`
    const error = await loadPeer('the trial', name).catch((error: unknown) => error) as Error & { code: string }
    t.equal(error.code, 'FST_ERR_REALTIME_PEER_MISSING', what)
    t.ok(error.message.startsWith('the trial needs a package'), what)
    t.ok(error.message.includes(why) && !error.message.includes('in two lines'), `${what}: ${error.message}`)
  }
})

t.test('a bundle of an app without peers says the same', async (t) => {
  await build({ entryPoints: [join(tree, write('mjs'))], bundle: true, platform: 'node', outfile: join(tree, 'bundle.cjs'), logLevel: 'silent', tsconfigRaw: {} })
  checkAnswers(t, await answersOf('bundle.cjs'))
})

t.test('a bundler finds ioredis where it is installed', async (t) => {
  const { metafile } = await build({
    stdin: { contents: "import { redis } from 'fastify-realtime/redis'\nconsole.log(redis)", resolveDir: root },
    bundle: true,
    platform: 'node',
    write: false,
    metafile: true,
    logLevel: 'silent',
    tsconfigRaw: {}
  })
  t.ok(Object.keys(metafile.inputs).some((file) => file.includes('node_modules/ioredis/')))
})
