/** APPEND with expectations: a batch that is sent again is answered as before, and appends nothing. */
import { Redis } from 'ioredis'
import t from 'tap'
import { appendScript } from '../../lib/adapters/redis/append-script.ts'
import { RedisServer } from '../helpers/redis.ts'

const server = await RedisServer.start(t)

/** Of one event: its dedupe key's index and what it expects, the bytes of its data, and its body. */
type Event = [expects: string, size: string, body: string]

t.test('what was refused is refused again, and what was appended keeps its id', async (t) => {
  const redis = new Redis(server.url)
  t.teardown(() => redis.disconnect())
  const { lua } = appendScript({ limit: 100, maxAge: 60_000, maxBytes: 1 << 20, life: 60_000, headLife: 60_000, announce: 'PUBLISH' })
  let attempts = 0
  const append = async (batch: string, after: string, ...events: Event[]): Promise<string> => String(await redis.eval(
    lua, 4, 'log', 'head', 'mark', 'owner', batch, after, batch, `n${batch}`, 'channel', '', `genesis${attempts++}`, '-', ...events.flat()
  ))
  const mixed: Event[] = [['0=1-0.other', '1', 'a'], ['0', '1', 'b'], ['0-', '1', 'c']]
  const first = await append('1', '', ...mixed)
  t.match(first, /^!0-0\.genesis0 (\d+-0\.n1_2) !\1$/)
  t.equal(await append('1', '', ...mixed), first)

  const refused = await append('2', '1', ['0=1-0.other', '1', 'a'])
  t.match(refused, /^!\d+-0\.n1_2$/)
  t.equal(await append('2', '1', ['0=1-0.other', '1', 'a']), refused, 'also where nothing of it was appended')
  t.equal(await append('1', '', ...mixed), '', 'a later one is there')

  const last = refused.slice(1)
  t.match(await append('3', '2', [`0=${last}`, '1', 'd']), /^\d+-\d+\.n3$/)
  t.equal(await redis.xlen('log'), 2)
  await t.rejects(append('9', '7', ['0', '1', 'x']), /GAP/)
})
