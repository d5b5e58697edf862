// Two nodes on one Redis, three tabs of useChat, and connections that are cut, tabs that are reloaded, a node that is killed. A tab
// asks again at each error, as an app would. Its text is the model's, byte for byte, or it says that it was broken off.
//
// SEED: of the round that failed. ROUNDS: of each kind.
import assert from 'node:assert/strict'
import { fork } from 'node:child_process'
import { EventEmitter, once } from 'node:events'
import { connect, createServer } from 'node:net'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { open, profile } from './browser.mjs'
import { random, wordsOf } from './storm-words.mjs'

const RELOADS = 10
const CUTS = 10
const ROUNDS = Number(process.env.ROUNDS ?? 1)

let house
before(async () => { house = await open(process.env.AI_SDK ?? '7') })
after(() => house.close())

class Node {
  ended = false
  #child
  #said = new EventEmitter()

  static async start () {
    const node = new Node()
    node.#child = fork(fileURLToPath(new URL('storm-node.mjs', import.meta.url)), [house.redisSocket, house.script])
    node.#child.on('message', ({ runs }) => { if (runs) node.runs = runs })
    const [{ port }] = await once(node.#child, 'message')
    node.port = port
    return node
  }

  tell (what) {
    if (!this.ended) this.#child.send(what)
  }

  async kill () {
    if (this.ended) return
    this.ended = true
    const ended = once(this.#child, 'exit')
    this.#child.kill('SIGKILL')
    await ended
  }
}

/** What stands before the nodes: each connection goes to one that lives. */
async function balance (nodes, next) {
  const pairs = new Set()
  const server = createServer((client) => {
    const living = nodes.filter(({ ended }) => !ended)
    const pair = [client, connect(living[Math.floor(next() * living.length)].port, '127.0.0.1')]
    pairs.add(pair)
    client.pipe(pair[1]).pipe(client)
    for (const socket of pair) {
      socket.on('error', () => {})
      socket.on('close', () => {
        pairs.delete(pair)
        for (const other of pair) other.destroy()
      })
    }
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const cut = (which = () => true) => { for (const [client] of [...pairs].filter(which)) client.resetAndDestroy() }
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    cut,
    async close () {
      server.close()
      cut()
      await once(server, 'close')
    }
  }
}

function shuffled (all, next) {
  return all.map((one) => [next(), one]).sort(([a], [b]) => a - b).map(([, one]) => one)
}

/** `killed`: which node is, if any: the one whose model speaks, or the other. Resolves with what each tab showed at last. */
async function storm (seed, killed) {
  const next = random(seed)
  const pick = (all) => all[Math.floor(next() * all.length)]
  const nodes = [await Node.start(), await Node.start()]
  const proxy = await balance(nodes, next)
  const tabs = await profile(house.browser)
  try {
    const chat = `storm-${seed}`
    const words = wordsOf(chat)
    let said = 0
    const say = (count) => {
      said = Math.min(words.length, said + count)
      for (const node of nodes) node.tell({ may: said })
    }
    const has = (count) => {
      const length = words.slice(0, count).join('').length
      // A tab that was told that it is over waits for no more.
      return (state) => state.text.length >= length || isOver(state)
    }
    const three = []
    for (let n = 0; n < 3; n++) three.push(await tabs.tab(`${proxy.url}/?own&again#${chat}`))
    await three[0].ask('Fish?')
    say(3)
    await three[0].until(has(3))
    const joined = (tab) => (status) => { if (status === 204) tab.missed = true }
    for (const tab of three.slice(1)) await tab.load().then(joined(tab))

    const acts = {
      reload: async () => {
        const tab = pick(three)
        joined(tab)(await tab.load())
      },
      cut: () => proxy.cut(() => next() < 0.5),
      sendAway: () => pick(nodes).tell({ sendAway: true }),
      kill: () => nodes.find(({ runs }) => (runs === chat) === (killed === 'speaks')).kill()
    }
    const plan = shuffled([...Array(RELOADS).fill('reload'), ...Array(CUTS).fill('cut'), ...Array(CUTS / 2).fill('sendAway'), ...killed ? ['kill'] : []], next)
    for (const act of plan) {
      say(1 + Math.floor(next() * 9))
      const tab = pick(three)
      if (next() < 0.5 && !tab.missed) await tab.until(has(said - Math.floor(next() * 5)))
      await acts[act]()
    }
    const listening = three.filter(({ missed }) => !missed)
    // Who asks again when all is said is told that nothing runs. What is said now comes over connections that were not cut.
    say(1)
    for (const tab of listening) await tab.until(has(said))
    say(words.length)
    for (const tab of listening) await tab.until(isOver)
    return { whole: words.join(''), states: three.map(({ state, missed }) => ({ ...state, missed })) }
  } finally {
    await tabs.close()
    await proxy.close()
    for (const node of nodes) await node.kill()
  }
}

const isOver = ({ status, finished, broken }) => status === 'ready' && (finished || broken !== undefined)

for (const killed of [undefined, 'listens', 'speaks']) {
  for (let round = 0; round < ROUNDS; round++) {
    const seed = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 31))
    test(`a storm, ${killed ? `and the node that ${killed} is killed` : 'and both nodes live'}: SEED=${seed}`, async (t) => {
      const { whole, states } = await storm(seed, killed)
      for (const { text, finished, broken, missed } of states) {
        t.diagnostic(finished ? 'whole' : `${text.length} of ${whole.length}: ${missed ? 'loaded when it was over' : broken}`)
        if (finished) assert.equal(text, whole)
        else {
          assert.equal(killed, 'speaks', `broken off: ${broken}`)
          assert.ok(missed ? text === '' : whole.startsWith(text))
        }
      }
    })
  }
}
