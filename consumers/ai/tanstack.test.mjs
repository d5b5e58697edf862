// TanStack AI's useChat in a real browser, against two nodes on one Redis. The model speaks when it is told to.
import assert from 'node:assert/strict'
import { after, afterEach, before, beforeEach, test } from 'node:test'
import { open, profile } from './browser.mjs'
import { ANSWER, Model, WORDS, first } from './model.mjs'
import { startNode } from './tanstack-chat.mjs'

let house, model, a, b, tabs
let chats = 0

before(async () => { house = await open('6', 'tanstack-page.mjs') })
after(() => house.close())

beforeEach(async () => {
  model = new Model()
  const options = { ...house, threads: new Map(), answer: (signal) => model.answer(signal) }
  ;[a, b] = [await startNode(options), await startNode(options)]
  tabs = await profile(house.browser, /[?&]threadId=/)
})
afterEach(async () => {
  await tabs.close()
  await Promise.all([a.close(), b.close()])
})

const url = (app) => `${app.listeningOrigin}/#thread-${chats}`
const shows = (text) => (state) => state.text === text
const isWhole = (state) => state.status === 'ready' && state.text === ANSWER
const isBroken = (state) => state.status === 'error' && state.error === 'The answer was broken off.'

/** A tab that has asked, and was given so many words. */
async function inMidAnswer () {
  chats++
  const tab = await tabs.tab(url(a))
  await tab.ask('Fish?')
  model.say(5)
  await tab.until(shows(first(5)))
  return tab
}

test('an answer arrives whole', async () => {
  const tab = await inMidAnswer()
  assert.equal(tab.state.status, 'streaming')
  model.say()
  assert.equal((await tab.until(isWhole)).messages, 2)
  assert.equal(model.runs, 1)
})

test('a connection that is cut: it goes on by itself, at each word, and the answer is asked for once', async () => {
  const tab = await inMidAnswer()
  for (let count = 6; count < WORDS.length; count++) {
    a.server.closeAllConnections()
    model.say(1)
    await tab.until(shows(first(count)))
  }
  model.say()
  assert.equal((await tab.until(isWhole)).messages, 2)
  assert.equal(model.runs, 1)
})

test('it is sent away to come back, and does', async () => {
  const tab = await inMidAnswer()
  a.realtime.connections()[0].close({ reconnect: true })
  model.say()
  await tab.until(isWhole)
  assert.equal(model.runs, 1)
})

test('a reload in mid-answer, and a second tab on another node: the whole again, and the rest', async () => {
  const tab = await inMidAnswer()
  assert.equal(await tab.load(), 200)
  await tab.until(shows(first(5)))
  const other = await tabs.tab(url(b))
  await other.until(shows(first(5)))
  model.say()
  for (const each of [tab, other]) assert.equal((await each.until(isWhole)).messages, 2)
  assert.equal(model.runs, 1)
})

test('an answer that ended while the client was away is given to its end', async () => {
  const tab = await inMidAnswer()
  // What the app knew a moment ago: it is being answered.
  const response = await fetch(`${a.listeningOrigin}/api/chat?threadId=thread-${chats}`)
  const { activeRun: { runId } } = await response.json()
  model.say()
  await tab.until(isWhole)
  const joined = await fetch(`${b.listeningOrigin}/api/chat?offset=-1&runId=${runId}`)
  const said = (await joined.text()).split('\n').filter((line) => line.startsWith('data: ')).map((line) => JSON.parse(line.slice(6)))
  assert.equal(said.map(({ delta = '' }) => delta).join(''), ANSWER)
  assert.equal(said.at(-1).type, 'RUN_FINISHED')
})

test('the model fails: every tab is told, and so is one that is loaded later', async () => {
  const tab = await inMidAnswer()
  const second = await tabs.tab(url(b))
  await second.until(shows(first(5)))
  model.fail()
  for (const each of [tab, second]) assert.equal((await each.until(isBroken)).text, first(5))
  await tab.load()
  assert.equal((await tab.until(isBroken)).text, first(5))
})

test('its node closes: it is told that the answer was broken off', async () => {
  const tab = await inMidAnswer()
  const second = await tabs.tab(url(b))
  await second.until(shows(first(5)))
  await a.close()
  for (const each of [tab, second]) assert.equal((await each.until(isBroken)).text, first(5))
  await second.load()
  assert.equal((await second.until(isBroken)).text, first(5))
})

test('where nothing runs nothing is started', async () => {
  chats++
  const tab = await tabs.tab(url(a))
  assert.equal((await tab.until(({ status }) => status === 'ready')).messages, 0)
  assert.equal(model.runs, 0)
})
