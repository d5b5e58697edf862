// Who in lib/ may import whom. A file that no row names needs a row of its own.

import { readdirSync, readFileSync } from 'node:fs'
import { posix } from 'node:path'
import t from 'tap'
import ts from 'typescript'

interface Import { to: string, typeOnly: boolean }
type Files = ReadonlyMap<string, string>

interface Room {
  files: RegExp
  /** What its files may load. */
  loads: RegExp
  /** What they may name in `import type` besides. */
  names?: RegExp
}

const everything = /./
const nothing = /^$/

const rooms: Room[] = [
  { files: /^(index|plugin)\.ts$/, loads: everything },
  { files: /^(errors|options|schemas|compilers|known)\.ts$/, loads: /^(core\/|errors\.ts|options\.ts|compilers\.ts|known\.ts)/ },
  { files: /^(http2|sockets)\.ts$/, loads: nothing },
  { files: /^types\.ts$/, loads: nothing, names: everything },
  { files: /^core\//, loads: /^(core\/|errors\.ts|known\.ts)/ },
  { files: /^adapters\//, loads: /^(adapters\/|core\/|errors\.ts|known\.ts)/ },
  { files: /^wires\/[^/]+$/, loads: /^(wires\/[^/]+$|core\/|errors\.ts|known\.ts)/, names: /^options\.ts/ },
  { files: /^wires\/sse\//, loads: /^(wires\/sse\/|wires\/[^/]+$|core\/|errors\.ts|known\.ts)/, names: /^options\.ts/ },
  { files: /^wires\/websocket\//, loads: /^(wires\/websocket\/|wires\/[^/]+$|core\/|errors\.ts|known\.ts)/, names: /^options\.ts/ },
  { files: /^conformance\//, loads: /^(conformance\/|testing\/|index\.ts|core\/adapter\.ts)/ },
  { files: /^testing\//, loads: /^(testing\/|errors\.ts|known\.ts)/, names: everything }
]

/** Types that every room may name. */
const vocabulary = /^types\.ts$/

t.test('every file of lib/ imports only what its room may', async (t) => {
  t.same(wrongArrows(readLibrary()), [])
})

t.test('no file of lib/ loads itself by way of others', async (t) => {
  t.same(circles(readLibrary()), [])
})

t.test('lib/ loads only packages that are installed with it', async (t) => {
  const { dependencies, peerDependencies } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'))
  const others = new Map([...readLibrary()].filter(([file]) => !file.startsWith('adapters/redis/')))
  t.same(foreignPackages(others, Object.keys(dependencies)), [])
  t.same(foreignPackages(readLibrary(), Object.keys({ ...dependencies, ...peerDependencies })), [], 'and the Redis adapter its peer')
})

t.test('a wrong arrow is found', async (t) => {
  const wrong = {
    'core/hub.ts': "import { x } from '../wires/sse/wire.ts'",
    'core/topic.ts': "import type { Plugin } from '../plugin.ts'",
    'core/event.ts': "export * from '../adapters/memory.ts'",
    'core/cursor.ts': "const a = await import('../options.ts')",
    'core/outbox.ts': "export type A = import('../testing/index.ts').A",
    'adapters/memory.ts': "import { hub } from '../wires/sse/wire.ts'",
    'wires/sse/wire.ts': "import { frame } from '../websocket/encode.ts'",
    'wires/websocket/wire.ts': "import type { Frame } from '../sse/encode.ts'",
    'wires/websocket/route.ts': "import { defaults } from '../../options.ts'",
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
    'core/hub.ts': "import { Topic } from './topic.ts'\nimport { coded } from '../errors.ts'\nimport type { Name } from '../types.ts'",
    'adapters/memory.ts': "import type { Adapter } from '../core/adapter.ts'",
    'wires/sse/wire.ts': "import { encode } from './encode.ts'\nimport { gate } from '../gate.ts'\nimport type { Settings } from '../../options.ts'",
    'testing/index.ts': "import type { Topic } from '../core/topic.ts'\nimport ws from 'ws'",
    'options.ts': "import { closeReasons } from './core/close-reasons.ts'",
    'types.ts': "import type { Plugin } from './plugin.ts'"
  }
  t.same(wrongArrows(new Map(Object.entries(right))), [])
})

t.test('a circle is found, and types do not make one', async (t) => {
  const ring = (third: string) => new Map([
    ['core/a.ts', "import { b } from './b.ts'"],
    ['core/b.ts', "export { c } from './c.ts'"],
    ['core/c.ts', third],
    ['core/d.ts', "import { a } from './a.ts'"]
  ])
  t.same(circles(ring("import { a } from './a.ts'")), ['core/a.ts > core/b.ts > core/c.ts > core/a.ts'])
  t.same(circles(ring("import { type A } from './a.ts'")).length, 1, 'which still loads the file')
  t.same(circles(ring("import type { A } from './a.ts'")), [])
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
    return importsInside(file, text)
      .filter(({ to, typeOnly }) => !mayImport(room, to, typeOnly))
      .map(({ to, typeOnly }) => `${file} may not ${typeOnly ? 'name types of' : 'load'} ${to}`)
  })
}

function mayImport ({ loads, names = nothing }: Room, to: string, typeOnly: boolean): boolean {
  return loads.test(to) || (typeOnly && (names.test(to) || vocabulary.test(to)))
}

function circles (files: Files): string[] {
  const found: string[] = []
  const done = new Set<string>()
  function visit (file: string, path: string[]): void {
    const start = path.indexOf(file)
    if (start >= 0) found.push([...path.slice(start), file].join(' > '))
    if (start >= 0 || done.has(file)) return
    for (const { to, typeOnly } of importsInside(file, files.get(file) ?? '')) {
      if (!typeOnly) visit(to, [...path, file])
    }
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
function importsInside (file: string, text: string): Import[] {
  return imports(file, text)
    .filter(({ to }) => to.startsWith('.'))
    .map(({ to, typeOnly }) => ({ to: posix.join(posix.dirname(file), to), typeOnly }))
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
