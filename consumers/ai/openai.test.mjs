// Clients in Node that know nothing of the plugin: openai's, and a parser over fetch.
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { EventSourceParserStream } from 'eventsource-parser/stream'
import Fastify from 'fastify'
import realtime from 'fastify-realtime'
import OpenAI from 'openai'
import { ANSWER, Model, WORDS, first } from './model.mjs'

const apps = []
after(() => Promise.all(apps.map((app) => app.close())))

/** Of a chat completion, as OpenAI's API has them. */
const part = (content) => ({ id: 'c1', object: 'chat.completion.chunk', created: 0, model: 'mock', choices: [{ index: 0, delta: { content }, finish_reason: null }] })

async function serve (model, format = {}, resumable) {
  const app = Fastify({ forceCloseConnections: true })
  apps.push(app)
  await app.register(realtime)
  app.stream('/v1/chat/completions', {
    method: 'POST',
    format: { end: '[DONE]', accept: ({ body }) => body.stream === true, ...format },
    ...resumable && { resumable },
    async * source (_request, { signal }) {
      for await (const word of model.answer(signal)) yield part(word)
    },
    async handler () {
      let content = ''
      for await (const word of model.answer()) content += word
      return { id: 'c1', object: 'chat.completion', created: 0, model: 'mock', choices: [{ index: 0, message: { role: 'assistant', content }, finish_reason: 'stop' }] }
    }
  })
  await app.listen({ port: 0, host: '127.0.0.1' })
  return app
}

const question = { model: 'mock', messages: [{ role: 'user', content: 'Fish?' }] }

/** openai's own defaults: it would try again by itself where it does. */
const client = (app) => new OpenAI({ apiKey: 'none', baseURL: `${app.listeningOrigin}/v1` })

/** What was heard, and how it ended. `on`: what happens when so many words were heard. */
async function listen (app, on = {}) {
  let text = ''
  let count = 0
  try {
    for await (const { choices: [{ delta }] } of await client(app).chat.completions.create({ ...question, stream: true })) {
      text += delta.content
      on[++count]?.()
    }
    return { text }
  } catch (error) {
    return { text, error }
  }
}

test('openai: an answer comes whole, as a stream and at once', async () => {
  const model = new Model()
  const app = await serve(model)
  model.say()
  assert.deepEqual(await listen(app), { text: ANSWER })
  const whole = await client(app).chat.completions.create(question)
  assert.equal(whole.choices[0].message.content, ANSWER)
  assert.equal(model.runs, 2, 'neither was asked for twice')
})

/** How an answer ends that is not whole. */
const BROKEN = {
  'the source throws': (app, model) => model.fail(),
  'the connection is lost': (app) => app.server.closeAllConnections(),
  'the app closes': (app) => { app.close() },
  'the connection is closed': (app) => app.realtime.connections()[0].close(),
  'the connection is closed, to come back': (app) => app.realtime.connections()[0].close({ reconnect: true })
}

for (const [what, breakOff] of Object.entries(BROKEN)) {
  test(`openai: the iteration throws where ${what}`, async () => {
    const model = new Model()
    const app = await serve(model)
    model.say(3)
    const { text, error } = await listen(app, { 3: () => breakOff(app, model) })
    assert.equal(text, first(3))
    assert.equal(error?.message, 'terminated')
    assert.equal(model.runs, 1, 'it does not ask again')
  })
}

test("openai: the format's own error is an APIError with its words", async () => {
  const model = new Model()
  const app = await serve(model, { error: { error: { message: 'The answer was broken off.', type: 'server_error' } } })
  model.say(3)
  const { text, error } = await listen(app, { 3: () => model.fail() })
  assert.equal(text, first(3))
  assert.ok(error instanceof OpenAI.APIError)
  assert.match(error.message, /The answer was broken off\./)
})

test('openai: what the source throws before its first word is a status', async () => {
  const model = new Model()
  const app = await serve(model)
  model.fail()
  const { text, error } = await listen(app)
  assert.equal(text, '')
  assert.ok(error instanceof OpenAI.APIError)
  assert.equal(error.status, 402)
})

test('openai: where that status is 503 it asks again by itself', async () => {
  const model = {
    runs: 0,
    async * answer () {
      if (++this.runs === 1) throw Object.assign(new Error('too busy'), { statusCode: 503 })
      yield * WORDS
    }
  }
  assert.deepEqual(await listen(await serve(model)), { text: ANSWER })
  assert.equal(model.runs, 2)
})

test('openai: whoever breaks out of the iteration ends the source', async () => {
  const model = new Model()
  const app = await serve(model)
  model.say(2)
  const stream = await client(app).chat.completions.create({ ...question, stream: true })
  const words = stream[Symbol.asyncIterator]()
  assert.equal((await words.next()).value.choices[0].delta.content, first(1))
  await words.return()
  await model.stops()
})

test('eventsource-parser: it reads every word, and goes on behind the last id', async () => {
  const model = new Model()
  const app = await serve(model, {}, { start: 'POST', key: () => 'one' })
  const ask = async (headers) => {
    const response = await fetch(`${app.listeningOrigin}/v1/chat/completions`, {
      method: 'POST', headers: { 'content-type': 'application/json', ...headers }, body: JSON.stringify({ ...question, stream: true })
    })
    assert.equal(response.status, 200)
    return response.body.pipeThrough(new TextDecoderStream()).pipeThrough(new EventSourceParserStream())
  }
  model.say(4)
  const heard = []
  let id
  const read = async (stream, on = {}) => {
    for await (const event of stream) {
      if (event.data === '[DONE]') return
      heard.push(JSON.parse(event.data).choices[0].delta.content)
      id = event.id
      on[heard.length]?.()
    }
    assert.fail('it ended without its end')
  }
  await assert.rejects(read(await ask(), { 4: () => app.realtime.connections()[0].close({ reconnect: true }) }), { message: 'terminated' })
  const rest = read(await ask({ 'last-event-id': id }))
  model.say()
  await rest
  assert.equal(heard.join(''), ANSWER)
  assert.equal(model.runs, 1)
})
