/** Servers that are not what a node hopes for: each does one thing wrong, at one stage of a connection. */
import { once } from 'node:events'
import { createServer, type AddressInfo, type Socket } from 'node:net'
import { createServer as createTlsServer, TLSSocket } from 'node:tls'
import { cert, key } from '../helpers/certificate.ts'
import { freePort, type Teardown } from '../helpers/redis.ts'

/** Where a hostile Sentinel or cluster node says that the others are. */
export interface Elsewhere { readonly port: number }

type Behaviour = (socket: Socket, elsewhere: Elsewhere) => void

const text = (value: string): string => `$${Buffer.byteLength(value)}\r\n${value}\r\n`
const INFO = text('redis_version:7.2.0\r\nrun_id:1234567890\r\nmaster_replid:abc\r\nrole:master\r\nloading:0\r\ncluster_state:ok\r\n')

/** Names of the commands in a piece of what a client sends. */
function commandsIn (piece: Buffer): string[] {
  return [...String(piece).matchAll(/\*(\d+)\r\n\$\d+\r\n([A-Za-z]+)\r\n(?:\$\d+\r\n([^\r]*)\r\n)?/g)].map(([, , name, first]) => `${name} ${first ?? ''}`.toLowerCase().trim())
}

/** Answers as Redis, Sentinel and a cluster's node do; `after` so many commands it does something else. */
function answers (socket: Socket, { port }: Elsewhere, after = Infinity, then: (socket: Socket) => void = () => {}): void {
  let count = 0
  socket.on('data', (piece) => {
    for (const command of commandsIn(piece)) {
      if (socket.destroyed) return
      if (count++ >= after) return then(socket)
      if (command.startsWith('info')) socket.write(INFO)
      else if (command.startsWith('sentinel get')) socket.write(`*2\r\n${text('127.0.0.1')}${text(String(port))}`)
      else if (command.startsWith('sentinel')) socket.write('*0\r\n')
      else if (command === 'cluster slots') socket.write(`*1\r\n*3\r\n:0\r\n:16383\r\n*3\r\n${text('127.0.0.1')}:${port}\r\n${text('a'.repeat(40))}`)
      else if (command === 'cluster info') socket.write(text('cluster_state:ok\r\n'))
      else socket.write('+OK\r\n')
    }
  })
}

// A TLS socket cannot be reset.
const reset = (socket: Socket): void => { (socket instanceof TLSSocket ? socket.destroy() : socket.resetAndDestroy()) }
const garbage = (socket: Socket): void => { socket.write(Buffer.from([0, 255, 36, 45, 49, 13, 10, 42, 57, 57, 57, 13, 10, 1, 2, 3])) }
const refuse = (socket: Socket): void => { socket.write('-ERR no\r\n-WRONGPASS no\r\n-LOADING no\r\n') }

/** What a server does with a connection. */
export const behaviours: Record<string, Behaviour> = {
  'says nothing': (socket) => { socket.resume() },
  'resets at once': reset,
  'ends at once': (socket) => { socket.end() },
  'resets at the first word': (socket) => { socket.once('data', () => reset(socket)) },
  'answers garbage': (socket) => { socket.on('data', () => garbage(socket)) },
  'says garbage before it is asked': garbage,
  'answers errors': (socket) => { socket.on('data', () => refuse(socket)) },
  'resets in the handshake': (socket, elsewhere) => answers(socket, elsewhere, 1, reset),
  'says nothing behind the handshake': (socket, elsewhere) => answers(socket, elsewhere, 3),
  'resets behind the handshake': (socket, elsewhere) => answers(socket, elsewhere, 4, reset),
  'says garbage behind the handshake': (socket, elsewhere) => answers(socket, elsewhere, 4, garbage),
  'answers nonsense to all that counts': (socket, elsewhere) => answers(socket, elsewhere)
}

async function listen (t: Teardown, server: ReturnType<typeof createServer>): Promise<number> {
  const open = new Set<Socket>()
  server.on('connection', (socket: Socket) => {
    open.add(socket)
    socket.on('error', () => {}).once('close', () => open.delete(socket))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.close()
    for (const socket of open) socket.destroy()
  })
  return (server.address() as AddressInfo).port
}

/** Resolves with its port. */
export async function hostileServer (t: Teardown, behave: Behaviour, elsewhere?: Elsewhere): Promise<number> {
  const own = { port: 0 }
  own.port = await listen(t, createServer((socket) => behave(socket, elsewhere ?? own)))
  return own.port
}

/** With a certificate that nobody trusts. */
export async function untrustedServer (t: Teardown, behave: Behaviour, elsewhere?: Elsewhere): Promise<number> {
  const own = { port: 0 }
  const server = createTlsServer({ key, cert }, (socket) => {
    socket.on('error', () => {})
    behave(socket, elsewhere ?? own)
  })
  server.on('tlsClientError', () => {})
  own.port = await listen(t, server)
  return own.port
}

/** Nobody listens there. */
export async function deadPort (): Promise<number> {
  return await freePort()
}
