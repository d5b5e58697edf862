/** docs/reference/tokens.md is true: its vectors are judged as it says. */
import { readFileSync } from 'node:fs'
import t from 'tap'
import { Patience } from '../../lib/core/callbacks.ts'
import { readTokens } from '../../lib/features/grants/token-options.ts'
import { Tokens } from '../../lib/features/grants/tokens.ts'
import { tableUnder } from '../helpers/docs.ts'
import { codeOf } from '../helpers/app.ts'
import { SECRET } from '../helpers/tokens.ts'

const page = readFileSync(new URL('../../docs/reference/tokens.md', import.meta.url), 'utf8')
const VERDICTS: Record<string, string> = { holds: 'no error', refused: 'FST_ERR_REALTIME_TOKEN_INVALID', expired: 'FST_ERR_REALTIME_EXPIRED' }

t.test('each test vector is judged as the page says', async (t) => {
  const [, secret, now] = /The secret is `(.+)`, the time (\d+)/.exec(page) as unknown as [string, string, string]
  t.equal(secret, SECRET)
  t.intercept(Date, 'now', { value: () => Number(now) * 1000 })
  const tokens = await Tokens.of(readTokens({ secret }), new Patience(1000))
  const vectors = [...page.matchAll(/^\| (holds|refused|expired) \| (.+) \| `([\w.-]+)` \|$/gm)]
  t.ok(vectors.length >= 13)
  t.same([...new Set(vectors.map(([, verdict]) => verdict))].sort(), Object.keys(VERDICTS).sort())
  for (const [, verdict = '', what = '', token = ''] of vectors) t.equal(await codeOf(async () => await tokens.verify(token, {})), VERDICTS[verdict], what)
})

t.test('the options and their defaults', async (t) => {
  const { keys, kid, verify, issuer, audience, query, ...numbers } = readTokens({ secret: SECRET })
  const rows = tableUnder('docs/reference/options.md', '## Tokens')
  t.same([...rows.keys()].sort(), ['audience', 'issuer', 'keys', 'kid', 'query', 'secret', 'verify', ...Object.keys(numbers)].sort())
  for (const [name, value] of Object.entries(numbers)) t.equal(Number(rows.get(name)), value, name)
  t.equal(rows.get('query'), String(query))
})
