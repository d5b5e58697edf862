/** What stands before the nodes: nginx with the guide's configuration where it is found, else a balancer for TCP. */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect, type AddressInfo, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { createBalancer } from '../cluster/balancer.ts'
import { isProgram } from '../cluster/redis.ts'

const guide = new URL('../../../docs/guides/proxies.md', import.meta.url)
const startMs = 10_000

export interface Proxy {
  name: string
  port: number
  stop: () => Promise<void>
  /** For a process that is about to end. */
  stopNow: () => void
}

/** @param port Where it listens, at `host`. */
export async function startProxy (host: string, port: number, nodes: [number, number]): Promise<Proxy> {
  const program = findNginx()
  return program === undefined ? await startBalancer(host, port, nodes) : await Nginx.start(program, host, port, nodes)
}

/** $NGINX_BIN, or what is on PATH or where servers are. */
function findNginx (): string | undefined {
  const given = process.env.NGINX_BIN
  if (given !== undefined) return isProgram(given) ? given : undefined
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/usr/local/sbin']
  return folders.map(folder => join(folder, 'nginx')).find(isProgram)
}

async function startBalancer (host: string, port: number, nodes: [number, number]): Promise<Proxy> {
  const balancer: Server = createBalancer(() => nodes)
  balancer.listen(port, host)
  await once(balancer, 'listening')
  return {
    name: 'a balancer for TCP (nginx was not found on PATH)',
    port: (balancer.address() as AddressInfo).port,
    stop: async () => { balancer.close() },
    stopNow: () => {}
  }
}

class Nginx implements Proxy {
  readonly name: string
  readonly port: number
  readonly #folder: string
  readonly #child: ChildProcess

  private constructor (program: string, port: number, folder: string, child: ChildProcess) {
    this.name = `nginx (${program}), as docs/guides/proxies.md sets it up`
    this.port = port
    this.#folder = folder
    this.#child = child
    child.on('error', () => {})
  }

  static async start (program: string, host: string, port: number, nodes: [number, number]): Promise<Proxy> {
    const folder = mkdtempSync(join(tmpdir(), 'restart-nginx-'))
    const file = join(folder, 'nginx.conf')
    writeFileSync(file, configuration(folder, host, port, nodes))
    const child = spawn(program, ['-p', folder, '-e', join(folder, 'error.log'), '-c', file], { stdio: ['ignore', 'ignore', 'inherit'] })
    const nginx = new Nginx(program, port, folder, child)
    for (let waited = 0; waited < startMs && child.exitCode === null; waited += 50) {
      if (await accepts(host, port)) return nginx
      await pause(50)
    }
    nginx.stopNow()
    throw new Error(`${program} did not start`)
  }

  async stop (): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      this.#child.kill('SIGTERM')
      await once(this.#child, 'exit')
    }
    rmSync(this.#folder, { recursive: true, force: true })
  }

  /** SIGTERM: its workers end with it. */
  stopNow (): void {
    this.#child.kill('SIGTERM')
    rmSync(this.#folder, { recursive: true, force: true })
  }
}

function configuration (folder: string, host: string, port: number, [one, other]: [number, number]): string {
  const block = /^```nginx\n([^]*?)^```$/m.exec(readFileSync(guide, 'utf8'))?.[1] ?? ''
  const kinds = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
  return `
    daemon off; pid ${folder}/pid; error_log ${folder}/error.log; worker_processes 1;
    ${process.getuid?.() === 0 ? 'user root;' : ''}
    events { worker_connections 512; }
    http {
      access_log off;
      ${kinds.map(kind => `${kind}_temp_path ${folder}/${kind};`).join(' ')}
      ${block.replace('10.0.0.1:3000', `127.0.0.1:${one}`).replace('10.0.0.2:3000', `127.0.0.1:${other}`).replace('listen 80;', `listen ${host}:${port};`)}
    }`
}

async function accepts (host: string, port: number): Promise<boolean> {
  const socket = connect(port, host)
  try {
    await once(socket, 'connect')
    return true
  } catch {
    return false
  } finally {
    socket.destroy()
  }
}
