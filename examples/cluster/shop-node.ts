/** One node, in a process of its own: the pet store as it is, or another program. It comes back when it ends. */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'
import { fileURLToPath } from 'node:url'

const petStore = fileURLToPath(new URL('../petstore/server.js', import.meta.url))
const backAfterMs = 3000
const closeMs = 8000

export class ShopNode {
  readonly name: string
  /** While it listens. */
  port: number | undefined
  readonly #env: NodeJS.ProcessEnv
  readonly #say: (text: string) => void
  #child: ChildProcess | undefined
  #again: NodeJS.Timeout | undefined
  readonly #program: string
  /** Its end is meant: somebody else starts it again, or nobody. */
  #stopping = false

  constructor (name: string, env: NodeJS.ProcessEnv, say: (text: string) => void, program = petStore) {
    this.name = name
    this.#program = program
    this.#env = { ...process.env, PORT: '0', ...env, NODE_NAME: name, HOST: '127.0.0.1' }
    this.#say = text => say(`${name} ${text}`)
  }

  /** Resolves when it listens, or has ended. */
  async start (): Promise<void> {
    const child = spawn(process.execPath, [this.#program], { env: this.#env, stdio: ['ignore', 'pipe', 'pipe'] })
    this.#child = child
    child.once('exit', () => this.#ended())
    this.#tell(child.stderr)
    await Promise.race([once(child, 'exit'), new Promise<void>(resolve => this.#tell(child.stdout, resolve))])
  }

  kill (): void {
    if (this.port === undefined) return
    this.#say('is being killed')
    this.#child?.kill('SIGKILL')
  }

  /** As a deploy does: it tells its clients to come back, and ends. `SIGKILL`: as a machine does that dies. */
  async stop (signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    this.#stopping = true
    clearTimeout(this.#again)
    const child = this.#child
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
    const impatient = setTimeout(() => child.kill('SIGKILL'), closeMs)
    child.kill(signal)
    await once(child, 'exit')
    clearTimeout(impatient)
  }

  /** At once, where it was. Resolves when it listens, or has ended. */
  async restart (signal: NodeJS.Signals): Promise<void> {
    await this.stop(signal)
    this.#stopping = false
    await this.start()
  }

  /** For a process that is about to end. */
  stopNow (): void {
    this.#stopping = true
    this.#child?.kill('SIGKILL')
  }

  #ended (): void {
    this.port = undefined
    if (this.#stopping) return
    this.#say(`has ended, and starts again in ${backAfterMs / 1000} s`)
    this.#again = setTimeout(() => {
      this.start().catch(error => this.#say(String(error)))
    }, backAfterMs)
  }

  /** Its first line says where it is; the others are its log. */
  #tell (output: Readable, listening?: () => void): void {
    createInterface({ input: output }).on('line', line => {
      const port = listening && /http:\/\/127\.0\.0\.1:(\d+)/.exec(line)?.[1]
      if (!port) return this.#say(`says: ${messageOf(line)}`)
      this.port = Number(port)
      this.#say('is running')
      listening()
    })
  }
}

function messageOf (line: string): string {
  try {
    return String((JSON.parse(line) as { msg?: unknown }).msg)
  } catch {
    return line
  }
}
