/** `fastify-realtime/client` for a page without a bundler: an import map, and its modules as they are built. */
import { readFileSync } from 'node:fs'
import type { Page } from 'playwright-core'
import { root } from './docs.ts'

const FOLDER = '/fastify-realtime-client/'

export const IMPORTS = { 'fastify-realtime/client': `${FOLDER}index.js`, 'fastify-realtime/client/tabs': `${FOLDER}tabs.js` }

/** To be called before the page is opened. */
export async function serveClient (page: Page): Promise<void> {
  await page.route(`**${FOLDER}*.js`, async (route) => {
    const name = new URL(route.request().url()).pathname.slice(FOLDER.length)
    await route.fulfill({ contentType: 'text/javascript', body: readFileSync(`${root}dist/client/${name}`, 'utf8') })
  })
}
