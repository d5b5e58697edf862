/** The files of the page, read once. They are served from memory: no name that is asked for reaches the disk. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { folder } from './folder.cjs'

export interface Asset { readonly type: string, readonly body: string }

const TYPES: Readonly<Record<string, string>> = {
  js: 'text/javascript; charset=utf-8', css: 'text/css; charset=utf-8', svg: 'image/svg+xml'
}
const PAGE = join(folder, 'page')
/** The package's own client, which the page uses. */
const CLIENT = join(folder, '../client')

/** By where they are below the page's URL: as they lie beside each other, so that they find each other. */
export function readAssets (): ReadonlyMap<string, Asset> {
  return new Map([...filesOf(PAGE, 'inspector/page/'), ...filesOf(CLIENT, 'client/')])
}

/** `base`: what the page's links start with. */
export function readPage (base: string): string {
  return readFileSync(join(PAGE, 'index.html'), 'utf8').replaceAll('BASE', () => base)
}

function filesOf (from: string, to: string): Array<[string, Asset]> {
  const names = existsSync(from) ? readdirSync(from) : []
  return names.flatMap((name) => {
    const type = TYPES[name.slice(name.lastIndexOf('.') + 1)]
    return type ? [[to + name, { type, body: readFileSync(join(from, name), 'utf8') }] as [string, Asset]] : []
  })
}
