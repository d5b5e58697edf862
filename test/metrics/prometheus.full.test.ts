/** The board and the alerts, against a real Prometheus that looks at the guide's app. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import t, { type Test } from 'tap'
import { fetch } from 'undici'
import { pages, readSnippets, root } from '../helpers/docs.ts'
import { freePort, until } from '../helpers/redis.ts'

const PROMETHEUS = process.env.PROMETHEUS_BIN ?? 'prometheus'
const ALERTS = `${root}docs/monitoring/alerts.yml`
const board = JSON.parse(readFileSync(`${root}docs/monitoring/grafana.json`, 'utf8')) as { panels: Array<{ title: string, targets: Array<{ expr: string }> }> }
const queries = board.panels.flatMap(({ title, targets }) => targets.map(({ expr }) => [title, expr.replaceAll('$instance', '.*')] as const))

interface Targets { activeTargets: Array<{ health: string }> }
interface Rules { groups: Array<{ rules: Array<{ query: string, health: string }> }> }

/** As a reader of the guide has it, beside the built package. */
async function startApp (t: Test): Promise<string> {
  const folder = `${root}.cache/monitoring/`
  mkdirSync(folder, { recursive: true })
  const code = readSnippets(pages).get('metrics.mjs')
  if (code === undefined) throw new Error('the guide has no metrics.mjs')
  writeFileSync(folder + 'metrics.mjs', code)
  const { NODE_OPTIONS, ...env } = process.env
  const child = spawn(process.execPath, [folder + 'metrics.mjs'], { cwd: folder, env: { ...env, PORT: '0' }, stdio: ['ignore', 'pipe', 'inherit'] })
  t.teardown(async () => {
    child.kill()
    if (child.exitCode === null) await once(child, 'close')
  })
  for await (const line of createInterface({ input: child.stdout })) if (line.startsWith('http://')) return line
  throw new Error('the app ended')
}

async function startPrometheus (t: Test, app: string): Promise<<T>(path: string) => Promise<T>> {
  const folder = mkdtempSync(join(tmpdir(), 'prometheus-'))
  const config = {
    global: { scrape_interval: '1s', evaluation_interval: '1s' },
    rule_files: [ALERTS],
    scrape_configs: [{ job_name: 'app', static_configs: [{ targets: [new URL(app).host] }] }]
  }
  // JSON is YAML.
  writeFileSync(join(folder, 'prometheus.yml'), JSON.stringify(config))
  const port = await freePort()
  const child = spawn(PROMETHEUS, [`--config.file=${join(folder, 'prometheus.yml')}`, `--storage.tsdb.path=${join(folder, 'data')}`, `--web.listen-address=127.0.0.1:${port}`], { stdio: 'ignore' })
  t.teardown(async () => {
    child.kill()
    if (child.exitCode === null) await once(child, 'close')
    rmSync(folder, { recursive: true, force: true })
  })
  const api = async <T>(path: string): Promise<T> => {
    const answer = await (await fetch(`http://127.0.0.1:${port}/api/v1/${path}`)).json() as { status: string, error?: string, data: T }
    if (answer.status !== 'success') throw new Error(answer.error)
    return answer.data
  }
  await until('prometheus', async () => (await api<Targets>('targets')).activeTargets[0]?.health === 'up')
  return api
}

/** Listeners, events, a client that comes back to what it has missed, and one that comes back too late. */
async function use (url: string): Promise<() => Promise<void>> {
  const listen = async (headers: Record<string, string> = {}) => await fetch(`${url}/orders/1/events`, { headers })
  const open = await listen()
  const publish = async (): Promise<string> => ((await (await fetch(`${url}/orders/1`, { method: 'PUT' })).json()) as { id: string }).id
  const id = await publish()
  return async () => {
    await publish()
    for (const last of [id, '1-0.unknown']) await (await listen({ 'last-event-id': last })).body?.cancel()
    if (open.bodyUsed) throw new Error('somebody reads it')
  }
}

t.test('every query of the board has an answer, every alert is known, and the names they use are ours', async (t) => {
  const app = await startApp(t)
  const api = await startPrometheus(t, app)
  const again = await use(app)
  const query = async (expr: string): Promise<unknown[]> => (await api<{ result: unknown[] }>(`query?query=${encodeURIComponent(expr)}`)).result
  for (const [title, expr] of queries) {
    await until(`${title}: ${expr}`, async () => {
      await again()
      return (await query(expr)).length > 0
    })
    t.pass(`${title}: ${expr}`)
  }
  t.ok(queries.length >= 20)
  const { groups } = await api<Rules>('rules')
  const rules = groups.flatMap(({ rules }) => rules)
  t.ok(rules.length >= 7)
  await until('the alerts to be looked at', async () => (await api<Rules>('rules')).groups.every(({ rules }) => rules.every(({ health }) => health === 'ok')))
  const known = new Set((await (await fetch(`${app}/metrics`)).text()).match(/(?<=# TYPE )realtime_\w+/g))
  const used = [...queries.map(([, expr]) => expr), ...rules.map(({ query }) => query)].flatMap((expr) => expr.match(/realtime_\w+/g) ?? [])
  t.same(used.filter((name) => !known.has(name.replace(/_bucket$/, ''))), [])
  t.same(await query('min by (instance) (realtime_adapter_up) == 0'), [], 'nothing is wrong')
})
