/** Copies of lib/ in which one rule is broken, ready to be loaded in its place. */
import { cpSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import ts from 'typescript'
import type { Library } from './world.ts'

export interface Mutation {
  /** In lib/. */
  readonly file: string
  /** Must be there, once. */
  readonly rule: string
  readonly broken: string
}

const root = fileURLToPath(new URL('../../', import.meta.url))
const lib = join(root, 'lib')
/** Ignored by git, and inside the repository: packages are found from there. */
const folder = join(root, '.cache', 'mutants', String(process.pid))

const options: ts.CompilerOptions = {
  target: ts.ScriptTarget.ES2022,
  module: ts.ModuleKind.ES2022,
  verbatimModuleSyntax: true,
  rewriteRelativeImportExtensions: true
}

function compile (source: string): string {
  return ts.transpileModule(source, { compilerOptions: options }).outputText
}

function filesOf (path: string): string[] {
  return readdirSync(path, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && !entry.name.endsWith('.md'))
    .map((entry) => join(entry.parentPath, entry.name).slice(path.length + 1))
}

/** lib/ as it is, compiled once. */
export function compileLibrary (): string {
  const base = join(folder, 'base')
  for (const file of filesOf(lib)) {
    const target = join(base, file)
    mkdirSync(dirname(target), { recursive: true })
    if (file.endsWith('.ts')) writeFileSync(target.replace(/\.ts$/, '.js'), compile(readFileSync(join(lib, file), 'utf8')))
    else cpSync(join(lib, file), target)
  }
  return base
}

/** @throws when the rule is not there (any more), word for word. */
export async function mutant (base: string, name: string, { file, rule, broken }: Mutation): Promise<Library> {
  const source = readFileSync(join(lib, file), 'utf8')
  const found = source.split(rule).length - 1
  if (found !== 1) throw new Error(`lib/${file} holds the rule ${found} times, not once; this test must follow it:\n${rule}`)
  const copy = join(folder, name)
  cpSync(base, copy, { recursive: true })
  writeFileSync(join(copy, file.replace(/\.ts$/, '.js')), compile(source.replace(rule, () => broken)))
  return await import(pathToFileURL(join(copy, 'index.js')).href) as Library
}

export function removeMutants (): void {
  rmSync(folder, { recursive: true, force: true })
}
