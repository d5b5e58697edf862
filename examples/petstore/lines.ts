/** The few lines behind each card of the page, as they stand in the source: between two comments there. */
import { readFileSync } from 'node:fs'
import type { FastifyPluginAsync } from 'fastify'

/** Where each card's lines are. */
export const sources = {
  dashboard: 'dashboard.ts',
  pets: 'notifications.ts',
  order: 'orders.ts',
  auction: 'auctions.ts',
  inventory: 'inventory.ts',
  notifications: 'live.ts',
  support: 'support.ts'
}

export const mostLines = 12

export interface Shown { file: string, text: string }

export const lines: FastifyPluginAsync = async app => {
  const shown = Object.fromEntries(Object.entries(sources).map(([card, file]) => [card, linesOf(card, file)]))
  app.get('/v1/lines', async () => shown)
}

function linesOf (card: string, file: string): Shown {
  const all = readFileSync(new URL(`./${file}`, import.meta.url), 'utf8').split('\n')
  const from = all.findIndex(line => line.trim() === `// The page shows: ${card}`) + 1
  const to = all.findIndex((line, index) => index >= from && line.trim() === '// The page shows: until here')
  if (from === 0 || to < 0 || to - from > mostLines) throw new Error(`${file} marks no lines for "${card}", or more than ${mostLines}`)
  const lines = all.slice(from, to)
  const indent = Math.min(...lines.filter(line => line.trim() !== '').map(line => line.search(/\S/)))
  return { file, text: lines.map(line => line.slice(indent)).join('\n') }
}
