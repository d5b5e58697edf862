/** A long answer as its readers have it: a real server, and windows of a real browser. The test says when a token is spoken. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer, type AddressInfo } from 'node:net'
import { fileURLToPath } from 'node:url'
import type { Page } from 'playwright-core'
import t, { type Test } from 'tap'
import { fetch } from 'undici'
import buildApp from '../examples/ai-answer/app.ts'
import { compose, tokensOf } from '../examples/ai-answer/explainer.ts'
import type { Tempo } from '../examples/ai-answer/tempo.ts'
import { launchChromium, openWindow, type Window } from './helpers/chromium.ts'

// A browser on a busy machine takes its time.
t.setTimeout(180_000)

const browser = await launchChromium()
t.teardown(() => browser.close())

const QUESTION = 'How do the tides work?'
const tokens = tokensOf(compose(QUESTION))
const first = (count: number): string => tokens.slice(0, count).join('')

/** Speaks as many tokens as the test says. */
class Prompter implements Tempo {
  /** Sources that were started. */
  runs = 0
  #allowed = 0
  #wake = (): void => {}
  #ended = (): void => {}
  /** The source was told to stop. */
  readonly stopped = new Promise<void>((resolve) => { this.#ended = resolve })
  #failure: Error | undefined

  say (count: number): void {
    this.#allowed += count
    this.#wake()
  }

  fail (): void {
    this.#failure = new Error('the model is gone')
    this.#wake()
  }

  async think (signal: AbortSignal): Promise<void> {
    this.runs++
    signal.addEventListener('abort', () => {
      this.#ended()
      this.#wake()
    }, { once: true })
  }

  async speak (_token: string, signal: AbortSignal): Promise<void> {
    while (this.#allowed === 0 && !this.#failure && !signal.aborted) await new Promise<void>((resolve) => { this.#wake = resolve })
    if (this.#failure) throw this.#failure
    signal.throwIfAborted()
    this.#allowed--
  }
}

/** A server, and windows that may not complain. */
async function start (t: Test, retry = 50) {
  const prompter = new Prompter()
  const app = await buildApp({ tempo: prompter, realtime: { retry } })
  t.teardown(() => app.close())
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  const windows: Window[] = []
  const open = async (hash = ''): Promise<Page> => {
    const window = await openWindow(browser, `${url}/${hash}`)
    t.teardown(window.close)
    windows.push(window)
    return window.page
  }
  const consolesAreEmpty = () => t.same(windows.flatMap(({ complaints }) => complaints), [], 'no console has a complaint')
  return { url, prompter, open, consolesAreEmpty }
}

async function ask (page: Page, question = QUESTION): Promise<void> {
  await page.locator('#ask-form input').fill(question)
  await page.locator('#ask-form').getByRole('button', { name: 'Ask' }).click()
  await page.locator('#question, article.user', { hasText: question }).last().waitFor()
}

/** The window shows this text, to the letter. */
async function shows (page: Page, text: string): Promise<void> {
  await page.waitForFunction((expected) => {
    const paragraphs = [...document.querySelectorAll('#text p')].map(({ textContent }) => textContent)
    return paragraphs.join('\n\n') === expected
  }, text)
}

const state = (page: Page, name: string) => page.locator(`#answer[data-state="${name}"]`).waitFor()
const verdict = (page: Page, kind: string) => page.locator(`#verdict[data-kind="${kind}"]`).waitFor()

t.test('token by token, over a reload in mid-sentence, in a second window, to the end', async (t) => {
  const { prompter, open, consolesAreEmpty } = await start(t)
  const page = await open()
  await state(page, 'idle')
  await ask(page)
  await state(page, 'thinking')
  for (let count = 1; count <= 5; count++) {
    prompter.say(1)
    await shows(page, first(count))
  }
  await state(page, 'answering')
  prompter.say(70)
  await shows(page, first(75))
  t.match(first(76), /\w$/, 'in mid-sentence')

  await page.reload()
  await shows(page, first(75))
  t.equal(await page.locator('#question').textContent(), QUESTION)
  prompter.say(1)
  await shows(page, first(76))

  const opening = page.context().waitForEvent('page')
  await page.getByRole('link', { name: 'Open in a second window' }).click()
  const second = await opening
  const stranger = await open(new URL(page.url()).hash)
  for (const window of [second, stranger]) await shows(window, first(76))
  // A reload while it goes on, so that some is from the past and some is new.
  prompter.say(200)
  await second.reload()
  for (const window of [page, second, stranger]) await shows(window, first(276))

  prompter.say(tokens.length - 276)
  for (const window of [page, second, stranger]) {
    await state(window, 'done')
    await shows(window, first(tokens.length))
    await verdict(window, 'whole')
  }
  await page.reload()
  await state(page, 'done')
  await shows(page, first(tokens.length))
  await verdict(page, 'whole')
  t.ok(await page.locator('#stop').isDisabled())
  t.equal(prompter.runs, 1, 'it was told once')
  consolesAreEmpty()
})

t.test('a connection that is cut', async (t) => {
  const { prompter, open, consolesAreEmpty } = await start(t, 500)
  const page = await open()
  await ask(page)
  for (const round of [1, 2]) {
    const before = 30 * round
    prompter.say(20)
    await shows(page, first(before - 10))
    await page.locator('#cut').click()
    await page.locator('#cuts li[data-state="away"]').waitFor()
    prompter.say(10)
    await page.locator('#cuts li[data-state="whole"]', { hasText: 'none missing' }).nth(round - 1).waitFor()
    await shows(page, first(before))
    await verdict(page, 'equal')
  }
  consolesAreEmpty()
})

t.test('it is stopped for everybody, and asked again', async (t) => {
  const { prompter, open, consolesAreEmpty } = await start(t)
  const ada = await open()
  await ask(ada)
  const ben = await open(new URL(ada.url()).hash)
  prompter.say(40)
  for (const page of [ada, ben]) await shows(page, first(40))

  await ben.locator('#stop').click()
  await prompter.stopped
  for (const page of [ada, ben]) {
    await state(page, 'stopped')
    await page.locator('#ending', { hasText: 'Stopped here.' }).waitFor()
    await verdict(page, 'whole')
    await shows(page, first(40))
  }
  await ben.reload()
  await state(ben, 'stopped')
  await shows(ben, first(40))

  const { hash } = new URL(ada.url())
  await ada.locator('#again').click()
  await ada.waitForURL((url) => url.hash !== hash)
  prompter.say(3)
  await shows(ada, first(3))
  t.equal(prompter.runs, 2)
  await ada.goBack()
  await state(ada, 'stopped')
  await shows(ada, first(40))
  await shows(ben, first(40))
  consolesAreEmpty()
})

t.test('what is not an answer', async (t) => {
  const { url, prompter, open, consolesAreEmpty } = await start(t)
  const page = await open()
  const question = 'Is <img src=x onerror=alert(1)> "bread"?'
  await ask(page, question)
  const dangerous = tokensOf(compose(question))
  prompter.say(dangerous.length)
  await state(page, 'done')
  await shows(page, dangerous.join(''))
  t.equal(await page.locator('#answer img').count(), 0, 'a question is text')

  await ask(page, 'What is it that breaks off?')
  await state(page, 'thinking')
  prompter.fail()
  await state(page, 'aborted')
  await page.locator('#ending', { hasText: 'its source failed' }).waitFor()
  consolesAreEmpty()

  const gone = await open('#nothing')
  await state(gone, 'gone')
  await gone.locator('#ending', { hasText: 'not kept any more' }).waitFor()

  const send = async (method: string, path: string, body?: object) => {
    const response = await fetch(url + path, body ? { method, headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) } : { method })
    return [response.status, (await response.json() as { code?: string }).code]
  }
  t.same(await send('GET', '/v1/answers/none'), [404, 'ANSWER_NOT_FOUND'])
  t.same(await send('POST', '/v1/answers/none/stop'), [404, 'ANSWER_NOT_FOUND'])
  t.same(await send('POST', '/v1/connections/drop', { answerId: 'none' }), [404, 'ANSWER_NOT_FOUND'])
  t.same(await send('POST', '/v1/answers', { question: ' \n\u0000 ' }), [400, 'NOTHING_ASKED'])
  t.same(await send('POST', '/v1/answers', { question: 'x'.repeat(301) }), [400, 'FST_ERR_VALIDATION'])
})

t.test('the page fits', async (t) => {
  const { prompter, open, consolesAreEmpty } = await start(t)
  const page = await open()
  await ask(page, `${QUESTION} ${'Honorificabilitudinitatibus'.repeat(8)}`)
  prompter.say(300)
  await state(page, 'answering')
  for (const width of [1280, 768, 390, 320]) {
    await page.setViewportSize({ width, height: 800 })
    const rights = await page.evaluate(() => [
      document.documentElement.scrollWidth,
      ...[...document.querySelectorAll('.panel')].map((panel) => panel.getBoundingClientRect().right)
    ])
    t.ok(rights.every((right) => right <= width), `nothing is wider than ${width} px`)
  }
  consolesAreEmpty()
})

/** The last answer of the chat, paragraph by paragraph. */
async function chatShows (page: Page, text: string): Promise<void> {
  await page.waitForFunction((wanted) => {
    const last = [...document.querySelectorAll('article.assistant')].at(-1)
    return [...last?.querySelectorAll('p') ?? []].map(({ textContent }) => textContent).join('\n\n') === wanted
  }, text)
}

t.test('the same by useChat: over a reload, a cut and a second window, to the end', async (t) => {
  const { prompter, open, consolesAreEmpty } = await start(t)
  const page = await open('chat.html')
  await state(page, 'idle')
  await ask(page)
  await state(page, 'thinking')
  prompter.say(75)
  await chatShows(page, first(75))
  await state(page, 'answering')
  await page.reload()
  await chatShows(page, first(75))
  const second = await open(`chat.html${new URL(page.url()).hash}`)
  await chatShows(second, first(75))
  consolesAreEmpty()

  await page.locator('#cut').click()
  await state(page, 'reconnecting')
  prompter.say(200)
  for (const window of [page, second]) await chatShows(window, first(275))
  prompter.say(tokens.length - 275)
  for (const window of [page, second]) {
    await state(window, 'done')
    await chatShows(window, first(tokens.length))
    await verdict(window, 'whole')
  }
  await page.reload()
  await state(page, 'done')
  await chatShows(page, first(tokens.length))
  t.equal(await page.locator('article').count(), 2)
  t.equal(prompter.runs, 1, 'it was told once')
})

t.test('useChat: an answer is stopped, and one that fails is told so, to a page that is loaded later too', async (t) => {
  const { prompter, open, consolesAreEmpty } = await start(t)
  const page = await open('chat.html')
  await ask(page)
  prompter.say(30)
  await chatShows(page, first(30))
  await page.locator('#stop').click()
  await state(page, 'done')
  await verdict(page, 'whole')
  await page.reload()
  await chatShows(page, first(30))

  await ask(page)
  prompter.say(20)
  await chatShows(page, first(20))
  prompter.fail()
  await state(page, 'aborted')
  await page.reload()
  await state(page, 'aborted')
  await chatShows(page, first(20))
  t.equal(await page.locator('article').count(), 4)
  for (const width of [1280, 768, 390, 320]) {
    await page.setViewportSize({ width, height: 800 })
    t.ok(await page.evaluate(() => document.documentElement.scrollWidth) <= width, `nothing is wider than ${width} px`)
  }
  consolesAreEmpty()
})

t.test('the server says where it is, or that its port is in use', async (t) => {
  const server = fileURLToPath(new URL('../.cache/examples/ai-answer/server.js', import.meta.url))
  const run = (port: number) => {
    const child = spawn(process.execPath, [server], { env: { ...process.env, PORT: String(port) }, stdio: ['ignore', 'pipe', 'pipe'] })
    t.teardown(() => child.kill('SIGKILL'))
    return child
  }
  const taken = createServer().listen(0, '127.0.0.1')
  t.teardown(() => taken.close())
  await once(taken, 'listening')
  const { port } = taken.address() as AddressInfo
  const refused = run(port)
  let words = ''
  refused.stderr.setEncoding('utf8').on('data', (text) => { words += text })
  t.same(await once(refused, 'close'), [1, null], 'build the examples first: npm run build:examples')
  t.equal(words, `Port ${port} is in use; choose another with PORT=${port + 1} npm start -- ai-answer\n`)

  const child = run(0)
  const [line] = await once(child.stdout.setEncoding('utf8'), 'data') as [string]
  const url = /http:\/\/127\.0\.0\.1:\d+/.exec(line)?.[0] ?? ''
  const { answerId } = await (await fetch(`${url}/v1/answers`, {
    method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ question: QUESTION })
  })).json() as { answerId: string }
  const answer = await fetch(`${url}/v1/answers/${answerId}`, { headers: { accept: 'text/event-stream' } })
  child.kill('SIGTERM')
  t.match(await answer.text(), /event: realtime:aborted\ndata: \{"reason":"closing"\}/, 'a reader is told')
  t.same(await once(child, 'exit'), [0, null])
})
