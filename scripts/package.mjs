// Packs the package and looks at it as its users will: its files, what `import` and `require` give, the
// packages its types need, and what publint and attw say.

import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import ts from 'typescript'
import { bin, npm, readJson, root } from './project.mjs'

const { name, dependencies, peerDependencies, exports } = readJson('package.json')
const targets = Object.values(exports).filter((target) => typeof target === 'object')
/** The types and the code of each way to load each entry. The client has one way: it is an ES module alone. */
const entries = targets.flatMap((target) => target.require ? Object.values(target) : [target])
const documents = ['CHANGELOG.md', 'LICENSE', 'PROTOCOL.md', 'README.md', 'SECURITY.md', 'package.json']
const folders = ['dist/', 'docs/', 'examples/other-clients/', 'examples/signers/']

const esModules = Object.entries(exports).filter(([, target]) => target.default).map(([path]) => path)

const cache = join(root, '.cache/package')
const installed = join(cache, 'node_modules', name)

const tarball = await pack()
const problems = [...wrongFiles(), ...wrongTypeImports(), ...deadLinks()]
problems.forEach((problem) => console.error(problem))

const ok = [
  problems.length === 0,
  load('module', (specifier) => `await import('${specifier}')`),
  load('commonjs', (specifier) => `require('${specifier}')`),
  passes([bin('publint'), tarball, '--strict']),
  oneInstance(),
  attw('--exclude-entrypoints', ...esModules),
  // A browser loads them as they are: CommonJS is none of their ways.
  attw('--profile', 'esm-only', '--entrypoints', ...esModules)
]
process.exitCode = ok.every(Boolean) ? 0 : 1

/** Leaves the tarball in the cache, and its content where a package of that name is looked for. */
async function pack () {
  rmSync(cache, { recursive: true, force: true })
  mkdirSync(installed, { recursive: true })
  writeFileSync(join(cache, 'package.json'), '{}')
  const code = await npm(['pack', '--ignore-scripts', '--silent', '--pack-destination', cache],
    { stdio: ['ignore', 'ignore', 'inherit'] })
  if (code !== 0) process.exit(code)
  const tarball = join(cache, readdirSync(cache).find((file) => file.endsWith('.tgz')))
  execFileSync('tar', ['-xzf', tarball, '-C', installed, '--strip-components=1'])
  return tarball
}

function wrongFiles () {
  const files = readdirSync(installed, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(installed, join(entry.parentPath, entry.name)).replaceAll('\\', '/'))
  const required = [...documents, ...entries.flatMap(Object.values).map((file) => file.slice('./'.length))]
  return [
    ...required.filter((file) => !files.includes(file)).map((file) => `${file} is missing from the package`),
    ...files.filter((file) => !folders.some((folder) => file.startsWith(folder)) && !documents.includes(file))
      .map((file) => `${file} must not be in the package`)
  ]
}

/** Whoever has the package alone reads its documents: their links lead to what is in it. */
function deadLinks () {
  return readdirSync(installed, { recursive: true })
    .filter((file) => file.endsWith('.md'))
    .flatMap((file) => {
      const prose = readFileSync(join(installed, file), 'utf8').replace(/^```[^]*?^```$/gm, '')
      return [...prose.matchAll(/\]\((?!\w+:|#)([^)#\s]+)/g)]
        .filter(([, target]) => !existsSync(join(installed, dirname(file), target)))
        .map(([, target]) => `${file} links to ${target}, which is not in the package`)
    })
}

/** Types may only name packages that come along with this one, and Fastify. */
function wrongTypeImports () {
  const known = new Set([...Object.keys({ ...dependencies, ...peerDependencies }), 'fastify'])
  return [...typeImports()]
    .filter((specifier) => !specifier.startsWith('node:') && !known.has(packageWithTypes(specifier)))
    .map((specifier) => `the published types import ${specifier}: ${packageWithTypes(specifier)} must be a dependency`)
}

function typeImports () {
  const found = new Set()
  const files = new Set(entries.map(({ types }) => join(installed, types)))
  for (const file of files) {
    if (!existsSync(file)) continue
    for (const { fileName } of ts.preProcessFile(readFileSync(file, 'utf8')).importedFiles) {
      if (!fileName.startsWith('.')) found.add(fileName)
      else files.add(join(dirname(file), fileName.replace(/\.ts$|\.js$/, '.d.ts')))
    }
  }
  return found
}

function packageWithTypes (specifier) {
  const [name] = /^(@[^/]+\/)?[^/]+/.exec(specifier)
  const types = `@types/${name.replace(/^@/, '').replace('/', '__')}`
  return existsSync(join(root, 'node_modules', types)) ? types : name
}

/** With import and with require: the plugin, and every other entry without an error. */
function load (type, expression) {
  const [plugin, ...others] = Object.keys(exports)
    .filter((path) => !path.endsWith('.json'))
    .map((path) => expression(name + path.slice(1)))
  const source = `if (typeof (${plugin}).default !== 'function') throw new Error('no plugin')\n${others.join('\n')}`
  return passes([`--input-type=${type}`, '--eval', source])
}

/** `import` and `require` give the same objects. */
function oneInstance () {
  const paths = Object.keys(exports).filter((path) => !path.endsWith('.json')).map((path) => name + path.slice(1))
  const source = `
    const require = (await import('node:module')).createRequire(process.cwd() + '/x.js')
    for (const path of ${JSON.stringify(paths)}) {
      const [imported, required] = [await import(path), require(path)]
      const names = new Set([...Object.keys(imported), ...Object.keys(required)])
      names.delete('module.exports')
      for (const name of names) if (imported[name] !== required[name]) throw new Error(path + ' has two of ' + name)
    }`
  return passes(['--input-type=module', '--eval', source])
}

function attw (...args) {
  return passes([bin('@arethetypeswrong/cli', 'attw'), tarball, '--no-definitely-typed', '--format', 'ascii', ...args])
}

/** Says something only when it fails. */
function passes (args) {
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { cwd: cache, encoding: 'utf8' })
  if (status !== 0) console.error(stdout + stderr)
  return status === 0
}
