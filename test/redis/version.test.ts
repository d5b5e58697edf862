/** Which servers are new enough. */
import t from 'tap'
import { checkVersion } from '../../lib/adapters/redis/version.ts'

t.test('Redis and Valkey that are too old are refused', async (t) => {
  const code = 'FST_ERR_REALTIME_ADAPTER_UNSUPPORTED'
  t.throws(() => checkVersion('redis_version:6.2.14\r\n'), { code, message: /Redis 6\.2/ })
  t.throws(() => checkVersion('redis_version:7.2.4\r\nvalkey_version:7.0.1\r\n'), { code, message: /Valkey 7\.0/ })
  for (const info of ['redis_version:7.0.0', 'redis_version:8.2.1', 'redis_version:7.2.4\r\nvalkey_version:7.2.5', 'redis_version:7.2.4\r\nvalkey_version:8.0.1']) {
    t.doesNotThrow(() => checkVersion(info), info)
  }
})
