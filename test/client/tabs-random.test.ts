/**
 * Random schedules of tabs that share a connection: they come late, leave topics, are closed, crash, freeze (told before
 * or not) and thaw, while the server cuts the connection. What each listener was told is judged by a model that shares
 * nothing with the client: the numbers that were published.
 */
import t, { type Test } from 'tap'
import { setTimeout as pause } from 'node:timers/promises'
import { connect, type Client } from '../../lib/client/index.ts'
import { sharedBy } from '../../lib/client/tabs.ts'
import type { Untyped } from '../../lib/client/types.ts'
import { live } from '../helpers/app.ts'
import { FakeBrowser, type FakePage } from '../helpers/fake-browser.ts'
import { until } from '../helpers/redis.ts'
import { Random, seedOf } from '../random/random.ts'

const SCHEDULES = Number(process.env.SCHEDULES ?? 4)
const STEPS = 60
const MOST_TABS = 6
const NAMES = ['plain', 'counted', 'keyed'] as const
type Name = typeof NAMES[number]

/** One listener of one topic, from its coming to its going. */
interface Hearing { name: Name, from: number, told: Array<{ event: string, n: number }>, leave: () => void, over: boolean, what: string }
interface Tab { page: FakePage, client: Client<Untyped>, hearings: Map<Name, Hearing>, frozen: boolean }

/** What was published, and what follows of it for each listener. */
class Model {
  readonly published: Record<Name, number> = { plain: 0, counted: 0, keyed: 0 }

  /** Undefined where the listener was told what it should have been. */
  wrong ({ name, from, told, over, what }: Hearing): string | undefined {
    const last = this.published[name]
    const numbers = told.filter(({ event }) => event === 'n').map(({ n }) => n)
    const other = told.find(({ event }, i) => event !== 'n' && !(event === 'snapshot' && i === 0 && name === 'counted'))
    const said = (why: string): string => `${what} of ${name} from ${from} to ${last}: ${why}: ${JSON.stringify(told.map(({ event, n }) => event === 'n' ? n : [event, n]))}`
    if (other) return said(other.event)
    if (numbers.some((n, i) => i > 0 && n !== (numbers[i - 1] as number) + 1)) return said('a gap, disorder or a duplicate')
    const snapshot = told[0]?.event === 'snapshot' ? told[0].n : undefined
    // A snapshot may be older than the listener, by what is still under way: that follows then.
    if (snapshot !== undefined && numbers[0] !== undefined && numbers[0] > snapshot + 1) return said('a gap behind the snapshot')
    if (!over && (numbers.at(-1) ?? snapshot) !== last) return said('not all of it')
    return undefined
  }
}

async function schedule (t: Test, random: Random): Promise<void> {
  const app = await live(t, { identify: () => ({ id: 'ada' }), retry: 20 })
  const history = { limit: 5000 }
  const model = new Model()
  const topics = {
    plain: app.topic('plain', { authorize: () => true, history, presence: { grace: 0 } }),
    counted: app.topic('counted', { authorize: () => true, history, snapshot: () => ({ n: model.published.counted }) }),
    keyed: app.topic('keyed', { authorize: () => true, history, keyed: true })
  }
  const done = new Set<string>()
  app.channel('/realtime', {
    subscribe: Object.values(topics),
    presence: true,
    messages: { say: { handler: (data, { key }) => { done.add(String(key)); return data } } }
  })
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  const browser = new FakeBrowser()
  const tabs: Tab[] = []
  const ended: Hearing[] = []
  const sent: Array<Promise<boolean>> = []
  let names = 0
  // Few are kept, so that what is older is needed from the server; and the keyed topic's state, from wherever.
  const recent = random.pick([3, 10, 500])

  const publish = async (name = random.pick(NAMES)) => {
    const n = ++model.published[name]
    await topics[name].publish({}, 'n', { n }, name === 'keyed' ? { key: `k${n % 5}` } : {})
  }
  const open = () => {
    const page = browser.page()
    const client = connect<Untyped>(`${url}/realtime`, {
      WebSocket: page.WebSocket,
      firstDelay: 10,
      longestDelay: 50,
      offline: 1000,
      timeout: 60_000,
      tabs: sharedBy({ key: 'ada', patience: 60, recent }, () => page.browser)
    })
    tabs.push({ page, client, hearings: new Map(), frozen: false })
  }
  const hear = (tab: Tab, name: Name) => {
    const hearing: Hearing = { name, from: model.published[name], told: [], leave: () => {}, over: false, what: `listener ${++names}` }
    const topic = tab.client.topic(name)
    const off = [
      topic.on('*', ({ event, data }) => {
        if (!hearing.over) hearing.told.push({ event, n: (data as { n: number }).n })
      }),
      ...name === 'keyed' ? [topic.state.subscribe(() => {})] : [],
      ...name === 'plain' ? [topic.members.subscribe(() => {})] : []
    ]
    hearing.leave = () => { for (const end of off) end() }
    tab.hearings.set(name, hearing)
  }
  /** True where it was answered: only a tab that is gone is told nothing. */
  const say = async (tab: Tab, what: number): Promise<boolean> => {
    try {
      if (await tab.client.send('say', what) !== what) throw new Error('another answer')
      return true
    } catch (error) {
      if (tabs.includes(tab)) throw error
      return false
    }
  }
  const end = (hearing: Hearing) => {
    hearing.over = true
    ended.push(hearing)
  }
  const drop = (tab: Tab) => {
    tabs.splice(tabs.indexOf(tab), 1)
    for (const hearing of tab.hearings.values()) end(hearing)
  }
  const leaveOrHear = (tab: Tab) => {
    const name = random.pick(NAMES)
    const hearing = tab.hearings.get(name)
    if (!hearing) return hear(tab, name)
    hearing.leave()
    tab.hearings.delete(name)
    end(hearing)
  }
  const disturb = async (): Promise<void> => {
    const tab = random.pick(tabs)
    const roll = random.next()
    if (roll < 0.25 && tabs.length < MOST_TABS) open()
    else if (roll < 0.5 && !tab.frozen) leaveOrHear(tab)
    else if (roll < 0.6 && !tab.frozen) sent.push(say(tab, roll))
    else if (roll < 0.7 && tabs.length > 1) {
      drop(tab)
      if (random.next() < 0.5) tab.page.crash()
      tab.client.close()
    } else if (roll < 0.8) {
      if (tab.frozen) tab.page.thaw()
      else tab.page.freeze({ silent: random.next() < 0.5 })
      tab.frozen = !tab.frozen
    } else if (roll < 0.9) await app.realtime.disconnect({ identity: 'ada' }, { reconnect: true })
    else await pause(random.int(0, 100))
  }

  open()
  for (let step = 0; step < STEPS; step++) {
    for (let i = random.int(0, 5); i > 0; i--) await publish()
    await disturb()
    if (random.next() < 0.3) await pause(random.int(0, 10))
  }
  for (const tab of tabs) {
    if (tab.frozen) tab.page.thaw()
    for (const name of NAMES) if (!tab.hearings.has(name)) hear(tab, name)
  }
  // Whoever has come just now hears what comes from now on.
  const hearings = tabs.flatMap((tab) => [...tab.hearings.values()])
  const complete = () => hearings.every(({ name, told }) => told.at(-1)?.n === model.published[name])
  for (let n = 0; n < 3; n++) {
    await until('each has come', () => app.realtime.connections().some((connection) => connection.topics.length === NAMES.length))
    for (const name of NAMES) await publish(name)
  }
  await until('a first word to each', async () => {
    if (hearings.every(({ told }) => told.length > 0)) return true
    for (const name of NAMES) await publish(name)
    return false
  })
  await until('all of it', complete)
  const answered = (await Promise.all(sent)).filter(Boolean).length
  t.ok(done.size >= answered && done.size <= sent.length, `each message was done, under one key: ${answered} <= ${done.size} <= ${sent.length}`)
  t.same([...hearings, ...ended].map((hearing) => model.wrong(hearing)).filter(Boolean), [])
  const state = Object.fromEntries(Array.from({ length: Math.min(5, model.published.keyed) }, (_, i) => model.published.keyed - i).map((n) => [`k${n % 5}`, n]))
  for (const { client } of tabs) {
    t.same(Object.fromEntries([...client.topic('keyed').state.get()].map(([key, { data }]) => [key, (data as { n: number }).n])), state)
    t.same(client.topic('plain').members.get().map(({ id }) => id), ['ada'])
  }
  await until('one connection', () => app.realtime.stats().connections.websocket === 1)
  for (const { client } of tabs) client.close()
  await until('nobody', () => app.realtime.stats().connections.websocket === 0)
  await app.close()
}

t.test('whatever happens to the tabs, each is told each event once and in order, by one connection', { timeout: 60_000 + SCHEDULES * 30_000 }, async (t) => {
  const seed = seedOf()
  t.comment(`SEED=${seed}`)
  for (let n = 0; n < SCHEDULES; n++) {
    const one = (seed + n) >>> 0
    await t.test(`SEED=${one} SCHEDULES=1`, async (t) => await schedule(t, new Random(one)))
  }
})
