/** The README and the pages of docs/: their text, their snippets, their tables and their links. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { posix } from 'node:path'
import { fileURLToPath } from 'node:url'

export const root = fileURLToPath(new URL('../..', import.meta.url))

/** Paths in the repository. */
export const pages = ['README.md', ...markdownOf('docs/', true)]
export const documents = [...new Set([...pages, ...markdownOf('', false), ...readdirSync(`${root}examples`)
  .map((name) => `examples/${name}/README.md`).filter((path) => existsSync(root + path))])]

/** Their snippets need packages that only consumers/ has: `npm run test:full` runs them, and nothing else does. */
export const recipePages = ['frameworks', 'graphql', 'nest', 'trpc'].map((name) => `docs/guides/${name}.md`)

function markdownOf (folder: string, recursive: boolean): string[] {
  return readdirSync(root + folder, { recursive, encoding: 'utf8' })
    .filter((name) => name.endsWith('.md'))
    .map((name) => folder + name.replaceAll('\\', '/'))
    .sort()
}

export function read (path: string): string {
  return readFileSync(root + path, 'utf8')
}

/** File name → code of every snippet whose first line is a file name. */
export function readSnippets (paths = pages): Map<string, string> {
  const found = new Map<string, string>()
  for (const path of paths) {
    for (const [, code = ''] of read(path).matchAll(/^```(?:js|mjs|ts)\n([^]*?)^```$/gm)) {
      const file = /^\/\/ (\S+\.(?:js|mjs|ts))\n/.exec(code)?.[1]
      if (file === undefined) continue
      if (found.has(file)) throw new Error(`${path} has a ${file}, and so has a page before it`)
      found.set(file, code)
    }
  }
  return found
}

/** First column → second column of the table that follows a heading, without backquotes. */
export function tableUnder (path: string, heading: string): Map<string, string> {
  const section = `\n${read(path)}`.split(`\n${heading}\n`)[1]?.split(/\n#/)[0] ?? ''
  const rows = section.split('\n').filter((line) => line.startsWith('| `'))
  return new Map(rows.map((line) => {
    const [, first = '', second = ''] = line.split('|').map((cell) => cell.trim().replaceAll('`', ''))
    return [first, second]
  }))
}

/** What a document links to, or names, and is not there. */
export function brokenLinks (path: string, text = read(path)): string[] {
  const prose = withoutCode(text)
  const links = [...prose.matchAll(/\]\(((?!\w+:)[^)\s]+)\)/g)].map(([, target = '']) => target)
  const named = [...prose.matchAll(/(?<![\w/.([-])docs\/[\w/-]+\.md/g)].map(([target]) => target)
  return [...links.filter((target) => !leadsSomewhere(path, target)), ...named.filter((target) => !existsSync(root + target))]
}

function leadsSomewhere (from: string, target: string): boolean {
  const [file = '', anchor] = target.split('#')
  const to = file === '' ? from : posix.join(posix.dirname(from), file)
  return !to.startsWith('..') && existsSync(root + to) && (anchor === undefined || anchors(to).includes(anchor))
}

/** Those of GitHub: where a page has a heading twice, the second is numbered. */
function anchors (path: string): string[] {
  const seen = new Map<string, number>()
  return (withoutCode(read(path)).match(/^#+ .*$/gm) ?? []).map((line) => {
    const anchor = line.replace(/^#+ /, '').toLowerCase().replace(/[^\p{L}\p{N}_\- ]/gu, '').replaceAll(' ', '-')
    const count = seen.get(anchor) ?? 0
    seen.set(anchor, count + 1)
    return count === 0 ? anchor : `${anchor}-${count}`
  })
}

function withoutCode (text: string): string {
  return text.replace(/^```[^]*?^```$/gm, '')
}
