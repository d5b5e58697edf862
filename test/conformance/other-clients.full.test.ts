/**
 * The clients of examples/other-clients/ keep the contract of clients, and share nothing with the library's own. Each
 * rule that is taken out of one is missed: a suite that lets a broken client through is none. The long run finds Python.
 */
import t, { type Test } from 'tap'
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { childClient, clientSuite, type ClientWire, type Trial } from '../../lib/conformance/index.ts'

const MAX_LINES = 120
const CLIENTS: Record<string, ClientWire> = { 'channel.py': 'websocket', 'stream.py': 'sse' }

/** What is taken out, and the trial that misses it. */
const MUTANTS: Array<[file: string, what: string, from: string, to: string, trial: string]> = [
  ['channel.py', 'it believes a gap', 'frame.get("prev") != place', 'False', 'what is missing is asked for again, from the last that linked'],
  ['channel.py', 'it tells what comes twice', 'or id is not None and id == place', '', 'an event that comes twice is told once'],
  ['channel.py', 'it tries a refused token for ever', 'self.renewed, self.tokens = True,', 'self.tokens =', 'where that is refused too, nothing is tried any more'],
  ['channel.py', 'it comes back where it is not let in', 'if code in FINAL or not self.bye.get("reconnect", True):', 'if False:', 'who is refused stays away'],
  ['channel.py', 'it comes back after a bye that is final', 'or not self.bye.get("reconnect", True)', '', 'a bye is an end where it says so'],
  ['channel.py', 'it does not wait as it is told', 'self.bye.get("retry", random', '(random', 'a bye says when to come back'],
  ['channel.py', 'it asks for a lost event for ever', '<= TRIES', '<= 1000', 'what never comes is told as lost, and nothing goes round in circles'],
  ['channel.py', 'it forgets where it was', 'self.bye, self.error, code = {}, None, 0', 'self.places, self.bye, self.error, code = {}, {}, None, 0', 'it comes back from the last event that it was told'],
  ['channel.py', 'it does not renew its token', 'self.tokens = self.tokens[1:] or self.tokens\n        self.wire', 'self.wire', 'a token is renewed in place before it expires'],
  ['stream.py', 'it comes back for ever after a 204', '204 <= status < 500', '205 <= status < 500', 'who is told that there is nothing more stays away: 204'],
  ['stream.py', 'it comes back for ever after a 401', '204 <= status < 500', 'status == 204', 'who is refused a stream stays away: 401'],
  ['stream.py', 'it takes half an event', 'pass  # Cut', 'self.line("")  #', 'half a frame is no frame'],
  ['stream.py', 'it does not say where it was', 'if self.place else {}', 'if False else {}', 'it comes back from the last event that it was told']
]

const pathOf = (file: string): string => fileURLToPath(new URL(`../../examples/other-clients/${file}`, import.meta.url))

const suiteOf = (path: string, wire: ClientWire, timeout?: number): Trial[] =>
  clientSuite({ connect: childClient('python3', ['-B', path]), wires: [wire], ...timeout !== undefined && { timeout } })

t.jobs = 4
t.test('they are short', async (t) => {
  for (const file of ['rfc6455.py', ...Object.keys(CLIENTS)]) t.ok(readFileSync(pathOf(file), 'utf8').trimEnd().split('\n').length <= MAX_LINES, file)
})
for (const [file, wire] of Object.entries(CLIENTS)) {
  for (const { name, run } of suiteOf(pathOf(file), wire)) {
    t.test(`${file}, ${name}`, { buffered: true }, async (t) => {
      await run()
      t.pass('the contract is kept')
    })
  }
}

/** A client without one of its rules. */
function mutant (t: Test, file: string, from: string, to: string): string {
  const text = readFileSync(pathOf(file), 'utf8')
  t.equal(text.split(from).length, 2, 'the rule stands there once')
  const folder = mkdtempSync(join(tmpdir(), 'realtime-client-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const path = join(folder, file)
  copyFileSync(pathOf('rfc6455.py'), join(folder, 'rfc6455.py'))
  writeFileSync(path, text.replace(from, to))
  return path
}

for (const [file, what, from, to, missed] of MUTANTS) {
  t.test(`${file}, broken: ${what}`, { buffered: true }, async (t) => {
    const wire = CLIENTS[file] as ClientWire
    const trial = suiteOf(mutant(t, file, from, to), wire, 4000).find(({ name }) => name === `${wire}: ${missed}`)
    await t.rejects(trial?.run() ?? Promise.resolve(), Error, missed)
  })
}
