/**
 * A node that starts, or closes, beside servers that refuse, hang, lie and present bad certificates: on one server, by
 * Sentinel and on a cluster. Whatever a driver's sockets say and when, the process lives, and ends when it is closed.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import type { RedisAdapterOptions } from '../../lib/adapters/redis/index.ts'
import { cert, key } from '../helpers/certificate.ts'
import { freePort, RedisServer } from '../helpers/redis.ts'
import { Random } from '../random/random.ts'
import { behaviours, deadPort, hostileServer, untrustedServer } from './hostile-servers.ts'
import { copyOfLib } from './library.ts'

t.setTimeout(900_000)

interface Outcome { started: { yes: number, no: number }, errors: string[], stray: string[] }
interface Job { options: RedisAdapterOptions, ms: number }

const lib = copyOfLib(t)
const CONNECT_MS = [100, 250] as const
const PARALLEL = 40
const host = '127.0.0.1'
/** Not a speed that is asked for: past it something hangs, and the child says what. */
const PATIENCE_MS = 120_000

/** In a process of its own, which has to end by itself. */
async function run (t: Test, jobs: readonly Job[]): Promise<void> {
  const child = spawn(process.execPath, [fileURLToPath(new URL('starts.mjs', import.meta.url)), JSON.stringify({ lib, jobs, at: PARALLEL })], { stdio: 'pipe' })
  t.teardown(() => { child.kill('SIGKILL') })
  const patience = setTimeout(() => { child.kill('SIGTERM') }, PATIENCE_MS)
  t.teardown(() => clearTimeout(patience))
  let out = ''
  let wrong = ''
  child.stdout.on('data', (piece: Buffer) => { out += String(piece) })
  child.stderr.on('data', (piece: Buffer) => { wrong += String(piece) })
  const [code] = await once(child, 'close') as [number]
  if (code !== 0) throw new Error(`it did not end by itself: ${out}${wrong}`)
  t.equal(wrong, '', 'nothing on stderr')
  const { started, errors, stray } = JSON.parse(out) as Outcome
  t.same([...new Set(stray)], [], 'no error is without a listener')
  t.equal(started.yes + started.no, jobs.length, 'every start is settled')
  for (const code of errors) t.match(code, /^FST_ERR_REALTIME_(UNAVAILABLE|ADAPTER_UNSUPPORTED)$/)
}

/** So many starts, each closed at another moment of it or soon after. */
function jobsFor (seed: number, count: number, places: ReadonlyArray<Partial<RedisAdapterOptions>>): Job[] {
  const random = new Random(seed)
  return Array.from({ length: count }, (_, i) => {
    const connectTimeout = random.int(...CONNECT_MS)
    return { options: { ...places[i % places.length], connectTimeout }, ms: random.int(0, connectTimeout * 1.5) }
  })
}

/** The ports of every kind of bad server; those with TLS apart. */
async function everyServer (t: Test): Promise<{ plain: number[], tls: number[] }> {
  const kinds = Object.values(behaviours)
  const plain = [await deadPort(), ...await Promise.all(kinds.map(async (behave) => await hostileServer(t, behave)))]
  const untrusted = await Promise.all(kinds.map(async (behave) => await untrustedServer(t, behave)))
  // Those without TLS too: they are asked for it all the same.
  return { plain, tls: [...untrusted, ...plain] }
}

t.test('on one server: 300 starts and closes', async (t) => {
  const { plain } = await everyServer(t)
  await run(t, jobsFor(1, 300, plain.map((port) => ({ url: `redis://:secret@${host}:${port}` }))))
})

t.test('with TLS: 300 starts and closes', async (t) => {
  const { tls } = await everyServer(t)
  const open = tls.map((port) => ({ connection: { host, port, tls: { rejectUnauthorized: false } } }))
  await run(t, jobsFor(2, 300, [...tls.map((port) => ({ url: `rediss://${host}:${port}` })), ...open]))
})

t.test('with TLS, beside a Redis whose certificate nobody trusts: 300 starts and closes', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'realtime-tls-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  writeFileSync(join(folder, 'key.pem'), key)
  writeFileSync(join(folder, 'cert.pem'), cert)
  const port = await freePort()
  await RedisServer.start(t, ['--tls-port', String(port), '--tls-auth-clients', 'no', '--tls-ca-cert-file', join(folder, 'cert.pem'),
    '--tls-key-file', join(folder, 'key.pem'), '--tls-cert-file', join(folder, 'cert.pem')])
  await run(t, jobsFor(5, 300, [{ url: `rediss://${host}:${port}` }, { cluster: { nodes: [{ host, port }], options: { redisOptions: { tls: {} } } } }]))
})

t.test('by Sentinel: 200 starts and closes', async (t) => {
  const { plain, tls } = await everyServer(t)
  const sentinels = await Promise.all([...plain, ...tls].map(async (port) => await hostileServer(t, behaviours['answers nonsense to all that counts'] as never, { port })))
  const places: Array<Partial<RedisAdapterOptions>> = [
    ...plain.map((port) => ({ connection: { name: 'x', sentinels: [{ host, port }] } })),
    ...tls.map((port) => ({ connection: { name: 'x', sentinels: [{ host, port }], sentinelTLS: {} } })),
    ...sentinels.map((port) => ({ connection: { name: 'x', sentinels: [{ host, port }], failoverDetector: true } })),
    ...sentinels.map((port) => ({ connection: { name: 'x', sentinels: [{ host, port }], enableTLSForSentinelMode: true, tls: {} } }))
  ]
  await run(t, jobsFor(3, 200, places))
})

t.test('on a cluster: 200 starts and closes', async (t) => {
  const { plain, tls } = await everyServer(t)
  const nodes = await Promise.all(plain.map(async (port) => await hostileServer(t, behaviours['answers nonsense to all that counts'] as never, { port })))
  const places: Array<Partial<RedisAdapterOptions>> = [
    ...[...plain, ...nodes].map((port) => ({ cluster: { nodes: [{ host, port }] } })),
    ...tls.map((port) => ({ cluster: { nodes: [{ host, port }], options: { redisOptions: { tls: {} } } } }))
  ]
  await run(t, jobsFor(4, 200, places))
})
