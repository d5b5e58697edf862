/** The options of the adapter that are refused. */
import t from 'tap'
import { redis } from '../../lib/adapters/redis/index.ts'

t.test('options that cannot be meant', async (t) => {
  t.throws(() => redis({ url: 'http://x' }), { code: 'FST_ERR_REALTIME_OPTION_INVALID' })
  t.throws(() => redis({ url: 'redis://x', connection: {} }), { code: 'FST_ERR_REALTIME_OPTION_INVALID' })
  t.throws(() => redis({ prefix: 'a{b' }), { code: 'FST_ERR_REALTIME_OPTION_INVALID' })
})
