// assistant-ui's useChatRuntime in a real browser, against two nodes on one Redis. The model speaks when it is told to.
import assert from 'node:assert/strict'
import { after, afterEach, before, beforeEach, test } from 'node:test'
import { open, profile } from './browser.mjs'
import { startNode } from './chat.mjs'
import { ANSWER, Model, first } from './model.mjs'

let house, model, a, b, tabs

before(async () => { house = await open('6', 'assistant-ui-page.mjs') })
after(() => house.close())

beforeEach(async () => {
  model = new Model()
  const options = { ...house, answer: (signal) => model.answer(signal) }
  ;[a, b] = [await startNode(options), await startNode(options)]
  tabs = await profile(house.browser, /\/(page\.js|stream)$/)
})
afterEach(async () => {
  await tabs.close()
  await Promise.all([a.close(), b.close()])
})

const shows = (text) => (state) => state.text === text
const isWhole = ({ status, text }) => status === 'complete' && text === ANSWER
const isBroken = ({ status, reason }) => status === 'incomplete' && reason === 'error'

/** A tab that has asked, and was given so many words. */
async function inMidAnswer () {
  const tab = await tabs.tab(`${a.listeningOrigin}/`)
  await tab.until(({ status }) => status === 'ready')
  await tab.ask('Fish?')
  model.say(5)
  await tab.until(shows(first(5)))
  return tab
}

test('an answer arrives whole', async () => {
  const tab = await inMidAnswer()
  assert.equal(tab.state.status, 'running')
  model.say()
  assert.equal((await tab.until(isWhole)).messages, 2)
})

test('a reload in mid-answer: it is given the whole again, and the rest', async () => {
  const tab = await inMidAnswer()
  await tab.load()
  await tab.until(shows(first(5)))
  model.say(2)
  await tab.until(shows(first(7)))
  await tab.load()
  await tab.until(shows(first(7)))
  model.say()
  await tab.until(isWhole)
  assert.equal(model.runs, 1)
})

test('the model fails: it is an error with what was said, for a page that is loaded later too', async () => {
  const tab = await inMidAnswer()
  model.fail()
  assert.equal((await tab.until(isBroken)).text, first(5))
  assert.match(JSON.stringify(tab.state.error), /The answer was broken off\./)
  await tab.load()
  assert.equal((await tab.until(isBroken)).text, first(5))
})

test('a connection that is cut is an error; a reload has the whole', async () => {
  const tab = await inMidAnswer()
  a.server.closeAllConnections()
  assert.equal((await tab.until(isBroken)).text, first(5))
  assert.match(JSON.stringify(tab.state.error), /network error/)
  await tab.load()
  await tab.until(shows(first(5)))
  model.say()
  await tab.until(isWhole)
  assert.equal(model.runs, 1)
})
