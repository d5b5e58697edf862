// Two nodes on one Redis, three tabs of useChat, and connections that are cut, tabs that are reloaded, a node that is killed. A tab
// asks again where its connection is lost, as an app would. Its text is the model's, byte for byte, or its error says that it was
// broken off: that is known of the node that speaks and is killed alone.
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
const CUTS = 50
const SENT_AWAY = 5
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
  let count = 0
  const cut = (which = () => true) => {
    for (const [client] of [...pairs].filter(which)) {
      count++
      client.resetAndDestroy()
    }
  }
  return {
    /** Connections that were cut. */
    get count () { return count },
    get open () { return pairs.size },
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
    for (const tab of three.slice(1)) await reload(tab)

    const acts = {
      reload: () => reload(pick(three)),
      cut: async () => {
        await pick(three).until((state) => state.status === 'streaming' || isOver(state))
        const sure = Math.floor(next() * 3)
        proxy.cut((_pair, n) => n === sure % proxy.open || next() < 0.3)
      },
      sendAway: () => pick(nodes).tell({ sendAway: true }),
      kill: () => nodes.find(({ runs }) => (runs === chat) === (killed === 'speaks')).kill()
    }
    const plan = shuffled([...Array(RELOADS).fill('reload'), ...Array(CUTS).fill('cut'), ...Array(SENT_AWAY).fill('sendAway'), ...killed ? ['kill'] : []], next)
    for (const act of plan) {
      say(1 + Math.floor(next() * 9))
      const tab = pick(three)
      if (next() < 0.5) await tab.until(has(said - Math.floor(next() * 5)))
      await acts[act]()
    }
    // Who asks again when all is said is told that nothing runs. What is said now comes over connections that were not cut.
    say(1)
    for (const tab of three) await tab.until(has(said))
    say(words.length)
    for (const tab of three) await tab.until(isOver)
    return { cuts: proxy.count, whole: words.join(''), states: three.map(({ state }) => state) }
  } finally {
    await tabs.close()
    await proxy.close()
    for (const node of nodes) await node.kill()
  }
}

/** It is given the answer, whatever became of that. */
async function reload (tab) {
  assert.equal(await tab.load(), 200)
}

const BROKEN_OFF = 'The answer was broken off.'
const isBroken = ({ status, error }) => status === 'error' && error === BROKEN_OFF
const isOver = (state) => isBroken(state) || (state.status === 'ready' && state.finished)

for (const killed of [undefined, 'listens', 'speaks']) {
  for (let round = 0; round < ROUNDS; round++) {
    const seed = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 31))
    test(`a storm, ${killed ? `and the node that ${killed} is killed` : 'and both nodes live'}: SEED=${seed}`, async (t) => {
      const { cuts, whole, states } = await storm(seed, killed)
      t.diagnostic(`${cuts} connections were cut`)
      if (killed !== 'speaks') assert.ok(cuts >= CUTS)
      for (const state of states) {
        t.diagnostic(isBroken(state) ? `${state.text.length} of ${whole.length}, and then: ${state.error}` : 'whole')
        assert.equal(isBroken(state), killed === 'speaks')
        assert.equal(state.text, isBroken(state) ? whole.slice(0, state.text.length) : whole)
      }
      assert.equal(new Set(states.map(({ text }) => text)).size, 1, 'all have the same')
    })
  }
}
