// Who in lib/ may import whom: types count. A file that no row names needs a row of its own.

import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { posix } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import ts from 'typescript'

interface Import { to: string, typeOnly: boolean }
type Files = ReadonlyMap<string, string>

interface Room {
  files: RegExp
  /** What its files may import, be it to load it or to name its types. */
  imports: RegExp
}

const everything = /./
const nothing = /^$/

const rooms: Room[] = [
  { files: /^(index|plugin)\.ts$/, imports: everything },
  { files: /^realtime\.ts$/, imports: /^(core|features|routes|types)\/|^(errors|known)\.ts$/ },
  { files: /^peers\.ts$/, imports: /^(core\/callbacks|errors)\.ts$/ },
  { files: /^websocket-plugin\.ts$/, imports: /^peers\.ts$/ },
  { files: /^(errors|protocol|nearest)\.ts$/, imports: nothing },
  { files: /^(options|topic-options|schemas|compilers|known)\.ts$/, imports: /^(core\/|types\/|(errors|options|compilers|known|nearest)\.ts)/ },
  { files: /^types\//, imports: /^(core\/|types\/|protocol\.ts)/ },
  { files: /^shutdown\//, imports: /^core\/[^/]+$/ },
  // The contracts name plain values and each other.
  { files: /^core\/(adapter|event|close-reasons)\.ts$/, imports: /^core\/adapter\.ts$/ },
  { files: /^core\/wire\.ts$/, imports: /^core\/(adapter|event|close-reasons)\.ts$|^protocol\.ts$/ },
  { files: /^core\/hub\.ts$/, imports: /^(core\/|errors\.ts|known\.ts)/ },
  { files: /^core\/[^/]+$/, imports: /^(core\/[^/]+$|errors\.ts|known\.ts)/ },
  { files: /^core\/(topics|log)\//, imports: /^(core\/([^/]+|(topics|log)\/[^/]+)$|errors\.ts|known\.ts)/ },
  { files: /^core\/cluster\//, imports: /^(core\/([^/]+|(cluster|log)\/[^/]+)$|errors\.ts|known\.ts)/ },
  { files: /^core\/delivery\//, imports: /^(core\/([^/]+|(topics|log|delivery)\/[^/]+)$|errors\.ts|known\.ts)/ },
  { files: /^core\/connection\//, imports: /^(core\/([^/]+|(topics|log|delivery|connection)\/[^/]+)$|errors\.ts|known\.ts)/ },
  { files: /^features\//, imports: /^(features\/|core\/|errors\.ts|known\.ts)/ },
  { files: /^adapters\//, imports: /^(adapters\/|core\/[^/]+$|(errors|known|peers)\.ts)/ },
  { files: /^routes\//, imports: /^(routes\/|features\/|core\/|types\/|(errors|known|options|protocol)\.ts)/ },
  { files: /^wires\/sse\//, imports: /^(wires\/sse\/|routes\/|features\/|core\/|types\/|(errors|known|options|protocol)\.ts)/ },
  { files: /^wires\/websocket\//, imports: /^(wires\/websocket\/|routes\/|core\/|types\/|(errors|known|options|protocol)\.ts)/ },
  // It carries what one of them says as the other writes.
  { files: /^wires\/http\//, imports: /^(wires\/(http|sse|websocket)\/|routes\/|core\/|types\/|(errors|known|options|protocol)\.ts)/ },
  { files: /^wires\/process\//, imports: /^(wires\/process\/|routes\/|core\/|types\/|(errors|known|options)\.ts)/ },
  { files: /^conformance\//, imports: /^(conformance\/|testing\/|core\/adapter\.ts|types\/|index\.ts)/ },
  { files: /^messages\.ts$/, imports: /^types\// },
  // Of the server it names types alone: see below.
  { files: /^client\//, imports: /^(client\/|types\/|protocol\.ts)/ },
  // They know the plugin by what the plugin tells everybody.
  { files: /^asyncapi\//, imports: /^(asyncapi\/|types\/|(errors|known)\.ts)/ },
  // What the package's own tools are shown beyond that, and the way to it.
  { files: /^insight\.ts$/, imports: /^(core|features|routes|types)\// },
  { files: /^inspector\/page\//, imports: /^(inspector\/page\/|inspector\/shapes\.ts|client\/)/ },
  { files: /^inspector\/[^/]+$/, imports: /^(inspector\/[^/]+$|core\/origin\.ts|asyncapi\/json-schemas\.ts|routes\/hosts\.ts|types\/|(errors|known|options|insight)\.ts)/ },
  // It is called by core.
  { files: /^metrics\//, imports: /^(metrics\/|types\/|core\/metering\.ts|(errors|known|peers)\.ts)/ },
  // It is asked by core, and reads what core keeps of an event.
  { files: /^tracing\//, imports: /^(tracing\/|types\/|core\/(adapter|callbacks|trace|tracing)\.ts|(errors|known|peers)\.ts)/ },
  // A program of its own: it knows the server by the protocol.
  { files: /^command\//, imports: /^(command\/|testing\/parser\.ts|nearest\.ts)/ },
  { files: /^testing\//, imports: /^(testing\/|types\/|(errors|known|protocol)\.ts)/ }
]

/** Lines of a file in lib/. */
const MAX_LINES = 350

t.test('every file of lib/ imports only what its room may', async (t) => {
  t.same(wrongArrows(readLibrary()), [])
})

t.test('no file of lib/ imports itself by way of others, types counted', async (t) => {
  t.same(circles(readLibrary()), [])
})

t.test('a file of lib/ is one room', async (t) => {
  t.same([...readLibrary()].filter(([, text]) => text.trimEnd().split('\n').length > MAX_LINES).map(([file]) => file), [])
})

t.test('a line of lib/ is short', async (t) => {
  t.same([...readLibrary()].flatMap(([file, text]) => text.split('\n').flatMap((line, i) => line.length > 120 ? [`${file}:${i + 1}`] : [])), [])
})

t.test('a cast past the compiler is rare', async (t) => {
  const casts = [...readLibrary()].flatMap(([file, text]) => Array.from(text.matchAll(/\bas (never|unknown as)\b/g), () => file))
  t.ok(casts.length <= 5, casts.join(', '))
})

t.test('the drawing of the rooms in CONTRIBUTING.md is that of the code', async (t) => {
  const drawn = execFileSync(process.execPath, [fileURLToPath(new URL('../scripts/rooms.mjs', import.meta.url))]).toString()
  const shown = readFileSync(new URL('../CONTRIBUTING.md', import.meta.url), 'utf8')
  t.ok(shown.includes(drawn.trim()), 'else: node scripts/rooms.mjs --write')
})

t.test('lib/ loads only packages that are installed with it', async (t) => {
  const { dependencies, peerDependencies } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'))
  const others = new Map([...readLibrary()].filter(([file]) => !file.startsWith('adapters/redis/')))
  t.same(foreignPackages(others, Object.keys(dependencies)), [])
  t.same(foreignPackages(readLibrary(), Object.keys({ ...dependencies, ...peerDependencies })), [], 'and the Redis adapter its peer')
})

t.test('the client loads nothing but itself: a page gets no code of the server', async (t) => {
  const client = new Map([...readLibrary()].filter(([file]) => file.startsWith('client/')))
  t.ok(client.size > 10)
  t.same([...client].flatMap(([file, text]) => imports(file, text).filter(({ to, typeOnly }) => !typeOnly && !to.startsWith('./')).map(({ to }) => `${file} loads ${to}`)), [])
})

t.test('a wrong arrow is found', async (t) => {
  const wrong = {
    'core/hub.ts': "import { x } from '../wires/sse/wire.ts'",
    'core/topics/topic.ts': "import type { Plugin } from '../../plugin.ts'",
    'core/event.ts': "export * from '../adapters/memory.ts'",
    'core/wire.ts': "import type { Connection } from './connection/connection.ts'",
    'core/cursor.ts': "const a = await import('../options.ts')",
    'core/payload.ts': "import type { Hub } from './hub/hub.ts'",
    'core/delivery/fan-out.ts': "import type { Connection } from '../connection/connection.ts'",
    'core/log/topic-log.ts': "import type { ActiveTopic } from '../delivery/active-topic.ts'",
    'core/connection/outbox.ts': "export type A = import('../../testing/index.ts').A",
    'core/connection/connection.ts': "import type { Runs } from '../../features/resumable/runs.ts'",
    'adapters/memory.ts': "import { hub } from '../wires/sse/wire.ts'",
    'adapters/redis/adapter.ts': "import type { ActiveTopic } from '../../core/delivery/active-topic.ts'",
    'routes/arrival.ts': "import type { Session } from '../wires/websocket/session.ts'",
    'wires/sse/wire.ts': "import { frame } from '../websocket/frame.ts'",
    'wires/websocket/wire.ts': "import type { Frame } from '../sse/encode.ts'",
    'wires/shared.ts': "import './sse/wire.ts'",
    'testing/index.ts': "import { hub } from '../core/hub.ts'",
    'errors.ts': "import { plugin } from './plugin.ts'",
    'extra/new.ts': "import { event } from '../core/event.ts'"
  }
  for (const [file, text] of Object.entries(wrong)) {
    t.equal(wrongArrows(new Map([[file, text]])).length, 1, `${file}: ${text}`)
  }
})

t.test('a right arrow is let through', async (t) => {
  const right = {
    'index.ts': "import { plugin } from './plugin.ts'",
    'plugin.ts': "import { sse } from './wires/sse/route.ts'\nimport { memory } from './adapters/memory.ts'",
    'core/hub.ts': "import { Topic } from './topics/topic.ts'\nimport { coded } from '../errors.ts'",
    'core/connection/connection.ts': "import type { ActiveTopic } from '../delivery/active-topic.ts'",
    'features/presence/presence.ts': "import type { Hub } from '../../core/hub.ts'",
    'adapters/memory.ts': "import type { Adapter } from '../core/adapter.ts'",
    'wires/sse/wire.ts': "import { encode } from './encode.ts'\nimport { gate } from '../../routes/gate.ts'\nimport type { Settings } from '../../options.ts'",
    'testing/index.ts': "import ws from 'ws'",
    'options.ts': "import { closeReasons } from './core/close-reasons.ts'"
  }
  t.same(wrongArrows(new Map(Object.entries(right))), [])
})

t.test('a circle is found, and types make one too', async (t) => {
  const ring = (third: string) => new Map([
    ['core/a.ts', "import { b } from './b.ts'"],
    ['core/b.ts', "export { c } from './c.ts'"],
    ['core/c.ts', third],
    ['core/d.ts', "import { a } from './a.ts'"]
  ])
  for (const third of ["import { a } from './a.ts'", "import { type A } from './a.ts'", "import type { A } from './a.ts'", "export type A = import('./a.ts').A"]) {
    t.same(circles(ring(third)), ['core/a.ts > core/b.ts > core/c.ts > core/a.ts'], third)
  }
  t.same(circles(ring("import type { D } from './e.ts'")), [])
  t.same(circles(new Map([['core/a.ts', "import './a.ts'"]])), ['core/a.ts > core/a.ts'])
})

t.test('a package that is not a dependency is found', async (t) => {
  const files = new Map([['a.ts', [
    "import { readFile } from 'node:fs'",
    "import type { FastifyInstance } from 'fastify'",
    "import createError from '@fastify/error'",
    "import fastify from 'fastify'",
    "import x from '@fastify/cors/deep'"
  ].join('\n')]])
  t.same(foreignPackages(files, ['@fastify/error']), ['a.ts loads fastify', 'a.ts loads @fastify/cors'])
})

function wrongArrows (files: Files): string[] {
  return [...files].flatMap(([file, text]) => {
    const room = rooms.find(({ files }) => files.test(file))
    if (room === undefined) return [`${file} is in no room`]
    return importsInside(file, text).filter((to) => !room.imports.test(to)).map((to) => `${file} may not import ${to}`)
  })
}

function circles (files: Files): string[] {
  const found: string[] = []
  const done = new Set<string>()
  function visit (file: string, path: string[]): void {
    const start = path.indexOf(file)
    if (start >= 0) found.push([...path.slice(start), file].join(' > '))
    if (start >= 0 || done.has(file)) return
    for (const to of importsInside(file, files.get(file) ?? '')) visit(to, [...path, file])
    done.add(file)
  }
  for (const file of files.keys()) visit(file, [])
  return found
}

function foreignPackages (files: Files, dependencies: string[]): string[] {
  return [...files].flatMap(([file, text]) => imports(file, text)
    .filter(({ to, typeOnly }) => !typeOnly && !to.startsWith('.') && !to.startsWith('node:'))
    .map(({ to }) => to.split('/').slice(0, to.startsWith('@') ? 2 : 1).join('/'))
    .filter((name) => !dependencies.includes(name))
    .map((name) => `${file} loads ${name}`))
}

/** The imports of files in lib/, by their names there. */
function importsInside (file: string, text: string): string[] {
  return imports(file, text).filter(({ to }) => to.startsWith('.')).map(({ to }) => posix.join(posix.dirname(file), to))
}

function imports (file: string, text: string): Import[] {
  const found: Import[] = []
  function visit (node: ts.Node): void {
    if (ts.isImportDeclaration(node)) add(node.moduleSpecifier, node.importClause?.isTypeOnly ?? false)
    else if (ts.isExportDeclaration(node)) add(node.moduleSpecifier, node.isTypeOnly)
    else if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) add(node.argument.literal, true)
    else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) add(node.arguments[0], false)
    ts.forEachChild(node, visit)
  }
  function add (specifier: ts.Node | undefined, typeOnly: boolean): void {
    if (specifier && ts.isStringLiteralLike(specifier)) found.push({ to: specifier.text, typeOnly })
  }
  visit(ts.createSourceFile(file, text, ts.ScriptTarget.Latest))
  return found
}

function readLibrary (): Files {
  const lib = new URL('../lib/', import.meta.url)
  const names = readdirSync(lib, { recursive: true, encoding: 'utf8' })
    .map((name) => name.replaceAll('\\', '/'))
    .filter((name) => name.endsWith('.ts'))
  return new Map(names.map((name) => [name, readFileSync(new URL(name, lib), 'utf8')]))
}
