/** The signers of examples/signers/ are short, and what they sign holds. The long run installs what runs them. */
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { Patience } from '../../lib/core/callbacks.ts'
import { readTokens } from '../../lib/features/grants/token-options.ts'
import { Tokens } from '../../lib/features/grants/tokens.ts'
import { OTHER_SECRET, seconds } from '../helpers/tokens.ts'

const SIGNERS: Record<string, string[]> = { 'sign.py': ['python3'], 'sign.php': ['php'], 'sign.go': ['go', 'run'] }
/** What must come through whole: no ASCII, what HTML and JSON escape, what percent-encoding leaves. */
const WORDS = ['ada', 'Ада', 'a/b', '<b>&"\'\\', 'a b+c%20', '🦊', 'rooms/%2A']
const MAX_LINES = 20

for (const [file, command] of Object.entries(SIGNERS)) {
  t.test(`${file}: its tokens hold, by name of the key as well`, { timeout: 120_000 }, async (t) => {
    const path = fileURLToPath(new URL(`../../examples/signers/${file}`, import.meta.url))
    t.ok(readFileSync(path, 'utf8').trimEnd().split('\n').length <= MAX_LINES)
    const tokens = await Tokens.of(readTokens({ keys: { k1: OTHER_SECRET, k2: 'z'.repeat(32) }, kid: 'k1' }), new Patience(1000))
    for (const sub of WORDS) {
      const [program = '', ...args] = command
      const token = execFileSync(program, [...args, path, OTHER_SECRET, sub, ...WORDS], { env: { ...process.env, KID: 'k1', NOW: String(seconds()) }, encoding: 'utf8' }).trim()
      const claims = await tokens.verify(token, {})
      t.match(claims, { sub, realtime: { subscribe: WORDS } })
      t.equal(claims.exp - (claims.iat as number), 3600)
      const [header, payload] = token.split('.')
      t.throws(() => tokens.verify(`${header}.${payload}.${'A'.repeat(43)}`, {}))
    }
  })
}
