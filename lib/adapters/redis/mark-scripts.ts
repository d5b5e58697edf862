/** The scripts of marks. Threat: anybody may have changed the key. A value of another type counts as absent. */
import { script } from './lua.ts'

/**
 * KEYS: marks. ARGV: key, moment, ms to live, how many may be kept. Returns 0 if there is no room. Marks expire by the
 * server's clock, because the clocks of nodes may differ.
 */
export const MARK = script(`
local known = redis.pcall('ZCARD', KEYS[1])
if type(known) == 'table' and string.find(known.err, 'WRONGTYPE') then redis.call('DEL', KEYS[1]) end
local now = redis.call('TIME')[1] * 1000
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - tonumber(ARGV[3]))
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) and redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[4]) then return 0 end
redis.call('ZADD', KEYS[1], 'GT', ARGV[2], ARGV[1])
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[3]) then redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
return 1
`)

/** KEYS: marks. */
export const MARKS = script(`
local found = redis.pcall('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
if not found.err then return found end
return string.find(found.err, 'WRONGTYPE') and {} or found
`)
