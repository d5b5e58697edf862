/** The restart example as its users have it: a process with what it starts, and a browser on its page. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { connect } from 'node:net'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { isPerfect, table, Tally } from '../examples/restart/tally.ts'
import { launchChromium, openWindow } from './helpers/chromium.ts'

// A browser on a busy machine takes its time.
t.setTimeout(180_000)

const program = fileURLToPath(new URL('../.cache/examples/restart/server.js', import.meta.url))

function start (t: Test, args: string[] = [], env: Record<string, string> = {}) {
  if (!existsSync(program)) throw new Error('Build the examples first: npm run build:examples')
  const child = spawn(process.execPath, [program, ...args], { env: { ...process.env, PORT: '0', ...env }, stdio: ['pipe', 'pipe', 'pipe'] })
  // Not 'exit': what it said last is to be read.
  const ended = once(child, 'close')
  t.teardown(async () => {
    if (child.exitCode === null) child.kill('SIGTERM')
    await ended
  })
  const said: string[] = []
  let errors = ''
  const lines = createInterface({ input: child.stdout }).on('line', (line) => said.push(line))
  child.stderr.setEncoding('utf8').on('data', (text: string) => { errors += text })
  const says = async (wanted: RegExp): Promise<string> => {
    for (;;) {
      const line = said.find((line) => wanted.test(line))
      if (line !== undefined) return line
      await Promise.race([once(lines, 'line'), ended.then(() => { throw new Error(`it has ended: ${errors}${said.join('\n')}`) })])
    }
  }
  return { child, said, says, ended, errors: () => errors }
}

const urlIn = (line: string): string => line.slice(line.indexOf('http'))

for (const [proxy, env] of [['the proxy that is found', {}], ['its own balancer', { NGINX_BIN: '' }]] as const) {
  t.test(`behind ${proxy}, nobody misses an event or hears one twice, and a browser agrees`, async (t) => {
    const browser = await launchChromium()
    t.teardown(() => browser.close())
    const { says, said, ended, errors } = start(t, [], env)
    const { page, complaints } = await openWindow(browser, urlIn(await says(/A browser can listen too/)))
    if ('NGINX_BIN' in env) t.match(await says(/In front of both/), 'balancer')

    t.same(await ended, [0, null], errors())
    const rows = said.filter((line) => /^SIG(TERM|KILL) /.test(line)).map((line) => line.split(/ {2,}/))
    t.same(rows.map(([way, client]) => `${way}: ${client}`), ['SIGTERM', 'SIGKILL'].flatMap((way) => ['SSE, listen()', 'WebSocket, connect()'].map((client) => `${way}: ${client}`)))
    for (const [way, client, published, heard, ...others] of rows) {
      t.ok(Number(published) > 80, `${way}, ${client}: ${published} events`)
      t.same([heard, ...others.slice(0, 3)], [published, '0', '0', '0'])
      t.ok(Number(others[3]) > 0, 'it was cut off')
    }

    t.equal(await page.locator('#state').textContent(), 'It is over. Every event was heard, once and in order.')
    const shown = async (id: string): Promise<number> => Number(await page.locator(`#${id}`).textContent())
    t.same([await shown('missed'), await shown('doubled'), await shown('disorder')], [0, 0, 0])
    t.equal(await shown('heard'), await shown('last') - await shown('first') + 1)
    t.ok(await shown('reconnects') > 0)
    // A browser says of each lost connection that it was lost; nothing else is to be complained of.
    t.same(complaints.filter((text) => !/net::ERR|Failed to load resource/.test(text)), [])
  })
}

t.test('ended by Ctrl+C it leaves nothing', async (t) => {
  const { child, says, ended } = start(t)
  const { port } = new URL(urlIn(await says(/A browser can listen too/)))
  child.kill('SIGINT')
  t.same(await ended, [130, null])
  const [error] = await once(connect(Number(port), '127.0.0.1'), 'error')
  t.equal((error as NodeJS.ErrnoException).code, 'ECONNREFUSED')
})

t.test('what it cannot do it says', async (t) => {
  const words = async (args: string[], env: Record<string, string> = {}): Promise<[unknown, string]> => {
    const { ended, errors } = start(t, args, env)
    const [code] = await ended
    return [code, errors()]
  }
  t.match(await words([], { PATH: '', REDIS_SERVER_BIN: '' }), [1, /needs a redis-server \(7 or newer\)[^]*apt-get install redis-server/])
  t.match(await words([], { REDIS_SERVER_BIN: '/nowhere' }), [1, /REDIS_SERVER_BIN is '\/nowhere', which is not a program/])
  t.match(await words(['--round', '2']), [1, /--round[^]*--rounds 3/])
  t.match(await words(['--rounds', '0']), [1, /--rounds has to be a number from 1 to 1000, not '0'/])
  t.match(await words([], { PORT: 'x' }), [1, /PORT has to be a number from 0 to 65535, not 'x'/])
})

t.test('what is missed, doubled or out of order is counted', async (t) => {
  const tally = new Tally('a client')
  for (const n of [1, 2, 4, 4, 3, 6, 7]) tally.hear(n)
  tally.reconnect()
  const { silence, ...score } = tally.score({ first: 2, last: 6 })
  t.same(score, { published: 5, heard: 5, missed: 1, doubled: 1, disorder: 1, reconnects: 0 })
  t.ok(silence >= 0)
  t.notOk(isPerfect({ ...score, silence }), 'as many as were published, and yet not the same')
  t.ok(isPerfect(tally.score({ first: 6, last: 7 })))
  t.equal(tally.score({ first: 8, last: 9 }).reconnects, 1)
  t.equal(tally.score({ first: 8, last: 9 }).missed, 2)
  t.equal(table([['a', 'b', 'c'], ['long', 'd', '10']]), 'a     b   c\nlong  d  10')
})
