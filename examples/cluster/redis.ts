/** A Redis server of this example's own, with a folder of its own for what it keeps. */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { accessSync, constants, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { connect, createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'

const startMs = 10_000

/** $REDIS_SERVER_BIN, or what is on PATH. */
export function findRedis (): string | undefined {
  const given = process.env.REDIS_SERVER_BIN
  if (given) return isProgram(given) ? given : undefined
  const folders = (process.env.PATH ?? '').split(delimiter)
  return ['redis-server', 'valkey-server'].flatMap(name => folders.map(folder => join(folder, name))).find(isProgram)
}

export function isProgram (file: string): boolean {
  try {
    accessSync(file, constants.X_OK)
    return true
  } catch {
    return false
  }
}

export class RedisServer {
  readonly port: number
  readonly #program: string
  readonly #folder = mkdtempSync(join(tmpdir(), 'petstore-redis-'))
  #child: ChildProcess | undefined

  private constructor (program: string, port: number) {
    this.#program = program
    this.port = port
  }

  static async start (program: string): Promise<RedisServer> {
    const server = new RedisServer(program, await freePort())
    await server.#start()
    return server
  }

  get url (): string {
    return `redis://127.0.0.1:${this.port}`
  }

  /** Killed, and started again: with what it has written to its file, or with nothing. */
  async restart ({ empty = false } = {}): Promise<void> {
    await this.#kill()
    if (empty) rmSync(this.#folder, { recursive: true, force: true })
    await this.#start()
  }

  async stop (): Promise<void> {
    await this.#kill()
    rmSync(this.#folder, { recursive: true, force: true })
  }

  /** For a process that is about to end. */
  stopNow (): void {
    this.#child?.kill('SIGKILL')
    rmSync(this.#folder, { recursive: true, force: true })
  }

  async #start (): Promise<void> {
    mkdirSync(this.#folder, { recursive: true })
    // Every write goes to the file before it is answered: what was acknowledged outlives the process.
    const child = spawn(this.#program, [
      '--port', String(this.port), '--bind', '127.0.0.1', '--dir', this.#folder, '--save', '', '--appendonly', 'yes', '--daemonize', 'no'
    ], { stdio: 'ignore' })
    this.#child = child
    child.on('error', () => {})
    for (let waited = 0; waited < startMs; waited += 50) {
      if (child.exitCode !== null) break
      if (await answers(this.port)) return
      await pause(50)
    }
    throw new Error(`${this.#program} did not start`)
  }

  async #kill (): Promise<void> {
    const child = this.#child
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
    child.kill('SIGKILL')
    await once(child, 'exit')
  }
}

async function answers (port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1').setTimeout(1000, () => socket.destroy())
  try {
    await once(socket, 'connect')
    socket.write('PING\r\n')
    const [reply] = await once(socket, 'data') as [Buffer]
    return reply.toString().startsWith('+PONG')
  } catch {
    return false
  } finally {
    socket.destroy()
  }
}

export async function freePort (): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}
