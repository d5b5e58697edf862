/** A balancer for TCP: each connection goes to the next node that takes it. It knows no HTTP, and nobody sticks to a node. */
import { connect, createServer, type Server, type Socket } from 'node:net'

/** @param ports Of the nodes that run now. */
export function createBalancer (ports: () => number[]): Server {
  let turn = 0

  return createServer(client => {
    client.on('error', () => {})
    const all = ports()
    const first = turn++
    offer(client, all.map((_, i) => all[(first + i) % all.length]!))
  })

  function offer (client: Socket, [port, ...others]: number[]): void {
    if (port === undefined || client.destroyed) {
      client.destroy()
      return
    }
    const node = connect(port, '127.0.0.1')
    let taken = false
    node.on('error', () => {
      if (!taken) offer(client, others)
    })
    node.once('connect', () => {
      taken = true
      // One side's end is the other's, however it came.
      node.on('close', () => client.destroy())
      client.on('close', () => node.destroy())
      client.pipe(node).pipe(client)
    })
  }
}
