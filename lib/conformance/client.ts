/**
 * What every client must do, against a server that misbehaves on purpose, as trials for any test runner:
 *
 *     for (const { name, run } of clientSuite({ connect })) test(name, run)
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { ClientOrder, ClientSuiteOptions, ClientWire, DrivenClient } from './client-contract.ts'
import { ends } from './client-ends.ts'
import { links } from './client-links.ts'
import type { Line } from './client-line.ts'
import type { Scenario, Script } from './client-script.ts'
import { ScriptedServer } from './client-server.ts'
import { streams } from './client-streams.ts'
import { ClientWatch } from './client-watch.ts'
import { trial, type Checks, type Trial } from './trial.ts'

const SCRIPT: Script = { ...links, ...ends, ...streams }
const DELAY_MS = 30
const PATIENCE_MS = 10_000

const DEFAULTS: Required<Omit<ClientSuiteOptions, 'connect'>> = {
  wires: ['websocket', 'http', 'sse'],
  without: [],
  timeout: 20_000,
  quiet: 150
}
const KNOWN: Record<string, readonly string[]> = {
  wires: DEFAULTS.wires, without: ['tokens', 'refresh', 'messages', 'bytes']
}

type Settings = Required<ClientSuiteOptions>

/**
 * Returns the trials of the client suite.
 * @throws TypeError for an unknown option, wire or skill
 */
export function clientSuite (options: ClientSuiteOptions): Trial[] {
  const settings = settingsOf(options)
  const { wires, without } = settings
  return Object.entries(SCRIPT)
    .filter(([, { needs }]) => needs === undefined || !without.includes(needs))
    .flatMap(([name, scenario]) => scenario.wires.filter((wire) => wires.includes(wire))
      .map((wire) => trial(`${wire}: ${name}`, async (t) => await run(t, scenario, wire, settings))))
}

async function run (t: Checks, scenario: Scenario, wire: ClientWire, settings: Settings): Promise<void> {
  const watch = new ClientWatch(scenario.saw, settings.timeout)
  t.teardown(() => watch.end())
  const started: DrivenClient[] = []
  let asked = 0
  const house: Pick<Line, 'told' | 'ask'> = {
    told: (count) => watch.told(count),
    ask: (event, data) => {
      for (const { send } of started) send?.({ n: ++asked, event, data })
    }
  }
  const server = await ScriptedServer.start(scenario, watch, house)
  t.teardown(() => server.close())
  const order = orderOf(scenario, wire, server.url)
  server.expect(order)
  started.push(await settings.connect(order, (saw) => watch.tell(saw)))
  const leave = async (): Promise<void> => { for (const client of started.splice(0)) await client.close() }
  // If the trial has failed already, its own error counts.
  t.teardown(() => leave().catch(() => {}))
  await watch.all()
  await Promise.race([sleep(settings.quiet), watch.failed])
  checkDials(t, scenario, server, wire)
  watch.leave()
  await Promise.race([leave().then(() => server.idle()), watch.failed])
  watch.check()
}

function orderOf ({ order }: Scenario, wire: ClientWire, url: string): ClientOrder {
  return {
    wire,
    url,
    topics: wire === 'sse' ? [] : ['news'],
    events: ['n', 'message'],
    tokens: [],
    delay: DELAY_MS,
    patience: PATIENCE_MS,
    ...order
  }
}

function checkDials (t: Checks, scenario: Scenario, { dials }: ScriptedServer, wire: ClientWire): void {
  const { turns, spare = 0, places, tokens } = scenario
  t.ok(dials.length >= turns.length - spare, `it has dialled ${dials.length} times, and not ${turns.length}`)
  const topic = wire === 'sse' ? '' : 'news'
  if (places) t.same(dials.map((brought) => brought?.places[topic]), places, 'where it says that it is, dial for dial')
  if (tokens) t.same(dials.map((brought) => brought?.token), tokens, 'the token that it brings, dial for dial')
}

function settingsOf (options: ClientSuiteOptions): Settings {
  for (const [name, value] of Object.entries(options) as Array<[string, unknown]>) {
    if (name === 'connect') continue
    if (!Object.hasOwn(DEFAULTS, name)) throw new TypeError(`clientSuite: unknown option "${name}"`)
    const known = KNOWN[name]
    if (!known) continue
    const strange = (value as string[]).find((one) => !known.includes(one))
    if (strange !== undefined) throw new TypeError(`clientSuite: ${name} knows no "${strange}"; known: ${known.join()}`)
  }
  if (typeof options.connect !== 'function') throw new TypeError('clientSuite: connect must be a function')
  return { ...DEFAULTS, ...options }
}
