/**
 * The warehouse's hand scanners. They speak a protocol of their own, so this is a plain route of @fastify/websocket beside the
 * shop's channels: a line `<itemId> <count>` is answered `ok <stock>`, or `unknown`.
 */
import '@fastify/websocket'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { Shop } from './node.ts'

const LINE = /^([\w-]{1,64}) (\d{1,6})$/

export const scanner: FastifyPluginAsyncTypebox<Shop> = async (app, { store }) => {
  app.get('/v1/inventory/scanner', { websocket: true }, socket => {
    socket.on('message', line => {
      scanned(String(line)).then(answer => socket.send(answer), error => app.log.error(error))
    })
  })

  async function scanned (line: string): Promise<string> {
    const [, itemId, count] = LINE.exec(line) ?? []
    const known = (await store.items()).some(item => item.itemId === itemId)
    if (itemId === undefined || !known) return 'unknown'
    const item = await store.setStock(itemId, Number(count))
    await app.realtime.publish('inventory', 'stock', item, { key: itemId })
    return `ok ${item.stock}`
  }
}
