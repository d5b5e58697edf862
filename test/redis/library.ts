/** Copies of lib/ as JavaScript: for other processes, and with something taken out, to see which test misses it. */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join, relative, sep } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import ts from 'typescript'
import type { Teardown } from '../helpers/redis.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const LIB = join(ROOT, 'lib')

/** One exact replacement: a copy of another text than was thought would prove nothing. */
export interface Change {
  /** Within lib/. */
  readonly file: string
  readonly from: string
  readonly to: string
}

const COMPILER: ts.CompilerOptions = {
  target: ts.ScriptTarget.ES2022,
  module: ts.ModuleKind.ESNext,
  verbatimModuleSyntax: true,
  rewriteRelativeImportExtensions: true
}

let sources: Map<string, string> | undefined
const compiled = new Map<string, string>()

function compile (file: string, text: string): string {
  if (file.endsWith('.cjs')) return text
  return ts.transpileModule(text, { compilerOptions: COMPILER, fileName: file }).outputText
}

function everyFile (): Map<string, string> {
  sources ??= new Map(readdirSync(LIB, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && /\.(ts|cjs)$/.test(entry.name))
    .map((entry) => {
      const path = join(entry.parentPath, entry.name)
      return [relative(LIB, path).split(sep).join('/'), readFileSync(path, 'utf8')]
    }))
  return sources
}

function changed (file: string, text: string, changes: readonly Change[]): string {
  for (const { from, to } of changes) {
    if (text.split(from).length !== 2) throw new Error(`lib/${file} does not hold this once: ${from}`)
    text = text.replace(from, () => to)
  }
  return text
}

/** A folder with the copy; gone with the test. */
export function copyOfLib (t: Teardown, changes: readonly Change[] = []): string {
  const cache = join(ROOT, '.cache')
  mkdirSync(cache, { recursive: true })
  const folder = mkdtempSync(join(cache, 'lib-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  for (const [file, text] of everyFile()) {
    const own = changes.filter((change) => change.file === file)
    if (own.length === 0 && !compiled.has(file)) compiled.set(file, compile(file, text))
    const path = join(folder, file.replace(/\.ts$/, '.js'))
    mkdirSync(dirname(path), { recursive: true })
    writeFileSync(path, own.length === 0 ? compiled.get(file) as string : compile(file, changed(file, text, own)))
  }
  const missing = changes.find(({ file }) => !everyFile().has(file))
  if (missing) throw new Error(`lib/${missing.file} is not there`)
  return folder
}

export const moduleOf = async <T> (folder: string, file: string): Promise<T> => await import(pathToFileURL(join(folder, file)).href) as T
