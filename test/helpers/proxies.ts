/** Real proxies on free ports, with the configurations of docs/guides/proxies.md, before two nodes. Ended with the test. */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { read, root } from './docs.ts'
import { cert, key } from './certificate.ts'
import { freePort, until, type Teardown } from './redis.ts'

export const PAGE = 'docs/guides/proxies.md'
const asRoot = process.getuid?.() === 0
/** Somebody else may take a port between its choice and its use. */
const TRIES = 3

export interface Where {
  /** For HTTP/1.1 without TLS. */
  port: number
  /** For HTTP/2, with the tests' certificate. */
  tlsPort: number
  nodes: readonly [number, number]
  /** The idle timeout, which is 75 s in the guide. */
  seconds: number
  folder: string
}

export interface Proxy {
  name: string
  /** The variable that names its program; an empty one says that there is none. */
  variable: string
  program: string
  /** The language of its block in the guide. */
  block: string
  /** What makes the guide's block a whole configuration, and lets it listen here. */
  configure: (block: string, where: Where) => string
  args: (file: string, where: Where) => string[]
  /** Between two nodes, the second where the first does not answer. */
  balances: boolean
  /** It retries an upgrade on another node too. */
  retriesUpgrades: boolean
  /** What a node answers to an upgrade that it refuses reaches the client. */
  passesRefusals: boolean
  /** It cuts what is idle. */
  cutsIdle: boolean
  /** It asks nodes whether they are ready, and sends nothing to one that it has not asked yet. */
  checks: boolean
  /** How many streams an HTTP/2 connection is tried with; 0: it has no TLS here. */
  streams: number
}

/** Replaces what has to be there: a guide that has changed is noticed. */
export function swap (text: string, pairs: Record<string, string>): string {
  return Object.entries(pairs).reduce((whole, [from, to]) => {
    if (!whole.includes(from)) throw new Error(`${PAGE} has no "${from}" there any more`)
    return whole.replaceAll(from, to)
  }, text)
}

const apacheModules = ['/usr/lib/apache2/modules', '/usr/lib64/httpd/modules', '/usr/libexec/apache2'].find(existsSync) ?? ''
const loaded = [
  'mpm_event', 'authz_core', 'headers', 'proxy', 'proxy_http', 'proxy_balancer', 'lbmethod_bybusyness', 'slotmem_shm', 'ssl', 'http2'
].map((name) => `LoadModule ${name}_module ${apacheModules}/mod_${name}.so`).join('\n')

export const proxies: Proxy[] = [{
  name: 'nginx',
  variable: 'NGINX_BIN',
  program: 'nginx',
  block: 'nginx',
  balances: true,
  retriesUpgrades: true,
  passesRefusals: true,
  cutsIdle: true,
  checks: false,
  streams: 10,
  configure: (block, { port, tlsPort, folder }) => `
    daemon off; pid ${folder}/pid; error_log ${folder}/error.log; ${asRoot ? 'user root;' : ''} worker_processes 1;
    events { worker_connections 512; }
    http {
      access_log off;
      ${['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((kind) => `${kind}_temp_path ${folder}/${kind};`).join(' ')}
      ${swap(block, {
        'listen 80;': `listen 127.0.0.1:${port}; listen 127.0.0.1:${tlsPort} ssl http2; ssl_certificate ${folder}/cert.pem; ssl_certificate_key ${folder}/key.pem;`
      })}
    }`,
  args: (file, { folder }) => ['-p', folder, '-e', join(folder, 'error.log'), '-c', file]
}, {
  name: 'HAProxy',
  variable: 'HAPROXY_BIN',
  program: 'haproxy',
  block: 'haproxy',
  balances: true,
  retriesUpgrades: true,
  passesRefusals: true,
  cutsIdle: true,
  checks: true,
  streams: 10,
  configure: (block, { port, tlsPort, folder }) => swap(block, {
    'bind :80\n': `bind 127.0.0.1:${port}\n  bind 127.0.0.1:${tlsPort} ssl crt ${folder}/pair.pem alpn h2,http/1.1\n`
  }),
  args: (file) => ['-db', '-f', file]
}, {
  name: 'Apache',
  variable: 'APACHE_BIN',
  program: 'apache2',
  block: 'apache',
  balances: true,
  retriesUpgrades: true,
  passesRefusals: true,
  cutsIdle: true,
  checks: false,
  streams: 6,
  configure: (block, { port, tlsPort, folder }) => {
    const host = (port: number): string => swap(block, { '*:80': `127.0.0.1:${port}` })
    return `
      ServerRoot ${folder}
      DefaultRuntimeDir ${folder}
      PidFile ${folder}/pid
      ErrorLog ${folder}/error.log
      ServerName localhost
      ${asRoot ? 'User nobody\nGroup nogroup' : ''}
      ${loaded}
      Listen 127.0.0.1:${port}
      Listen 127.0.0.1:${tlsPort}
      ${host(port)}
      ${swap(host(tlsPort), {
        ProxyPreserveHost: `SSLEngine on\nSSLCertificateFile ${folder}/cert.pem\nSSLCertificateKeyFile ${folder}/key.pem\nProxyPreserveHost`
      })}`
  },
  args: (file) => ['-D', 'FOREGROUND', '-f', file]
}, {
  name: 'Varnish',
  variable: 'VARNISH_BIN',
  program: 'varnishd',
  block: 'vcl',
  balances: true,
  retriesUpgrades: false,
  passesRefusals: true,
  cutsIdle: true,
  checks: true,
  streams: 0,
  configure: (block) => block,
  args: (file, { port, folder, seconds }) => [
    '-F', '-n', join(folder, 'varnish'), '-a', `127.0.0.1:${port}`, '-f', file, '-j', 'none', '-T', 'none', '-s', 'malloc,32m', '-p', `pipe_timeout=${seconds}`
  ]
}, {
  name: 'Caddy',
  variable: 'CADDY_BIN',
  program: 'caddy',
  block: 'caddyfile',
  balances: true,
  retriesUpgrades: true,
  passesRefusals: true,
  cutsIdle: false,
  checks: false,
  streams: 10,
  configure: (block, { port, tlsPort, folder }) => {
    const [options, site] = block.split('\nexample.com ') as [string, string]
    return `${swap(options, { 'grace_period 5s': 'grace_period 5s\n  admin off\n  auto_https off' })}
      http://localhost:${port}, http://127.0.0.1:${port} ${site}
      https://localhost:${tlsPort} ${swap(site, { '{\n  reverse_proxy': `{\n  tls ${folder}/cert.pem ${folder}/key.pem\n  reverse_proxy` })}`
  },
  args: (file) => ['run', '--adapter', 'caddyfile', '--config', file]
}, {
  name: '@fastify/http-proxy',
  variable: '',
  program: process.execPath,
  block: 'js',
  balances: false,
  retriesUpgrades: false,
  passesRefusals: false,
  cutsIdle: true,
  checks: false,
  streams: 0,
  configure: (block, { port }) => swap(block, { 'process.env.PORT ?? 8080': String(port) }),
  args: (file) => [file]
}]

/** Those that are here. A program that cannot be started is a failure, unless its variable says that there is none. */
export const present = proxies.filter(({ variable }) => process.env[variable] !== '')
export const absent = proxies.filter((proxy) => !present.includes(proxy))

export class RunningProxy {
  readonly where: Where
  readonly #child: ChildProcess
  #words = ''

  private constructor (where: Where, child: ChildProcess) {
    this.where = where
    this.#child = child
    child.stdout?.on('data', (text) => { this.#words += text })
    child.stderr?.on('data', (text) => { this.#words += text })
  }

  /** `change`: what a test does to the guide's block. */
  static async start (t: Teardown, proxy: Proxy, nodes: readonly [number, number], seconds: number, change = (block: string) => block): Promise<RunningProxy> {
    for (let tries = 1; ; tries++) {
      const folder = proxy.block === 'js' ? besideModules() : mkdtempSync(join(tmpdir(), 'realtime-proxy-'))
      t.teardown(() => rmSync(folder, { recursive: true, force: true }))
      const running = spawnProxy(proxy, { port: await freePort(), tlsPort: await freePort(), nodes, seconds, folder }, change)
      t.teardown(() => running.stop())
      try {
        await running.#listens()
        return running
      } catch (error) {
        if (tries === TRIES) throw new Error(`${proxy.name} did not start: ${running.#words}`, { cause: error })
        await running.stop()
      }
    }
  }

  static of (where: Where, child: ChildProcess): RunningProxy { return new RunningProxy(where, child) }

  get url (): string { return `http://127.0.0.1:${this.where.port}` }
  get running (): boolean { return this.#child.pid !== undefined && this.#child.exitCode === null && this.#child.signalCode === null }

  async #listens (): Promise<void> {
    await until('the proxy', async () => !this.running || await accepts(this.where.port))
    if (!this.running) throw new Error('it has ended')
  }

  /** Its own end, in which it ends its workers. */
  async stop (): Promise<void> {
    if (!this.running) return
    const ended = once(this.#child, 'exit')
    this.#child.kill('SIGTERM')
    await ended
  }
}

/** Where a program of Node's finds packages. */
function besideModules (): string {
  mkdirSync(`${root}.cache`, { recursive: true })
  return mkdtempSync(`${root}.cache/proxy-`)
}

function spawnProxy (proxy: Proxy, where: Where, change: (block: string) => string): RunningProxy {
  const { folder } = where
  for (const [name, text] of Object.entries({ 'cert.pem': cert, 'key.pem': key, 'pair.pem': cert + key })) writeFileSync(join(folder, name), text)
  mkdirSync(join(folder, 'home'))
  const file = join(folder, proxy.block === 'js' ? 'proxy.mjs' : 'proxy.conf')
  writeFileSync(file, proxy.configure(change(substituted(proxy, blockOf(proxy), where)), where))
  const env = { ...process.env, PATH: `${process.env.PATH ?? ''}:/usr/sbin:/usr/local/sbin`, HOME: join(folder, 'home'), XDG_DATA_HOME: folder, XDG_CONFIG_HOME: folder }
  const child = spawn(process.env[proxy.variable] ?? proxy.program, proxy.args(file, where), { cwd: folder, env, stdio: ['ignore', 'pipe', 'pipe'] })
  child.on('error', () => {})
  return RunningProxy.of(where, child)
}

export function blockOf ({ block }: Proxy): string {
  const found = new RegExp(`^\`\`\`${block}\n([^]*?)^\`\`\`$`, 'm').exec(read(PAGE))?.[1]
  if (found === undefined) throw new Error(`${PAGE} has no block of ${block}`)
  return found
}

/** The guide's addresses and its idle timeouts, as they are here. */
function substituted ({ name, balances }: Proxy, block: string, { nodes, seconds }: Where): string {
  const here = nodes.reduce((text, port, i) => text
    .replaceAll(`10.0.0.${i + 1}:3000`, `127.0.0.1:${port}`)
    .replaceAll(`"10.0.0.${i + 1}"; .port = "3000"`, `"127.0.0.1"; .port = "${port}"`), block)
  const named = nodes.filter((port) => here.includes(String(port))).length
  if (named !== (balances ? 2 : 1)) throw new Error(`${PAGE} names ${named} nodes in the block of ${name}`)
  return here.replaceAll(/\b75(?=(s|_000)?\b)/g, String(seconds))
}

async function accepts (port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1')
  try {
    await once(socket, 'connect')
    return true
  } catch {
    return false
  } finally {
    socket.destroy()
  }
}
