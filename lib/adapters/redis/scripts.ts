/**
 * What must be one step in Redis. A log is a stream `<ms>-<seq>` with the fields `n` (nonce), `p` (prev), `c` (bytes
 * appended before it) and `e` (the event). The head is `<id> <bytes ever appended> <bytes known to be trimmed> <server> <the last id from before that server>`.
 * Bodies are never looked into, and never parsed.
 */
import { createHash } from 'node:crypto'

export interface Script { readonly lua: string, readonly sha: string }

function script (lua: string): Script {
  return { lua, sha: createHash('sha1').update(lua).digest('hex') }
}

const BEGIN_ANEW = `
local function begin (log, head, nonce, ttl)
  local id = '0-0.' .. nonce .. 'g'
  redis.call('DEL', log)
  redis.call('SET', head, id .. ' 0 0', 'PX', ttl)
  return id
end
`

/**
 * KEYS: log, head, mark, owner, dedupe keys. ARGV: batch number, limit, maxAge, maxBytes, ms the log lives, ms the head
 * lives, nonce, 'PUBLISH' or 'SPUBLISH', channel, owner or '', ms of the mark, nonce of a genesis (another at each
 * attempt), the server or '-', then for each event: index of its dedupe key or 0, bytes of its data, body. Returns the ids, joined by spaces.
 *
 * The mark makes it safe to send a batch again, or to have a given-up one arrive late: a batch is applied once, and
 * never behind a later one of the same node.
 */
export const APPEND = script(`
local log, head, mark, owner = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local batch, limit, maxBytes = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[4])
local nonce, publish, channel = ARGV[7], ARGV[8], ARGV[9]
local done = redis.call('GET', mark)
if done then
  local number, ids = string.match(done, '^(%d+) (.*)$')
  if tonumber(number) > batch then return '' end
  if tonumber(number) == batch then return ids end
end
if ARGV[10] ~= '' and redis.call('GET', owner) ~= ARGV[10] then
  return redis.error_reply('NOTOWNER the topic belongs to another node')
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local id, total, base, server, bound
local state = redis.call('GET', head)
if state then
  id, total, base, server, bound = string.match(state, '^(%S+) (%d+) (%d+) ?(%S*) ?(%S*)$')
  total, base = tonumber(total), tonumber(base)
else
  id, total, base = '0-0.' .. ARGV[12], 0, 0
  -- Only where it is there: behind a write Redis would let the rest pass although it is out of memory.
  if redis.call('EXISTS', log) == 1 then redis.call('DEL', log) end
end
if server ~= ARGV[13] then server, bound = ARGV[13], id end
local ms, seq = string.match(id, '^(%d+)-(%d+)')
ms, seq = tonumber(ms), tonumber(seq)
-- Age is seen to once in a window of half the age: a busy log is spared two commands at each event.
local window = tonumber(ARGV[3]) / 2
local due = math.floor(now / window) ~= math.floor(ms / window)
local function keep ()
  redis.call('SET', head, string.format('%s %.0f %.0f %s %s', id, total, base, server, bound), 'PX', ARGV[6])
end
local ids = {}
local count = (#ARGV - 13) / 3
for i = 1, count do
  local at = 11 + i * 3
  local key = ARGV[at] ~= '0' and KEYS[4 + ARGV[at]]
  local known = key and redis.call('GET', key)
  if known then
    ids[i] = known
  else
    if now > ms then ms, seq = now, 0 else seq = seq + 1 end
    local own = i == 1 and nonce or nonce .. '_' .. i
    local short = string.format('%.0f-%.0f', ms, seq)
    local prev = id
    redis.call('XADD', log, 'MAXLEN', limit, short, 'n', own, 'p', prev, 'c', string.format('%.0f', total), 'e', ARGV[at + 2])
    id = short .. '.' .. own
    total = total + tonumber(ARGV[at + 1])
    if i < count then keep() end
    if key then redis.call('SET', key, id, 'PX', ARGV[3]) end
    redis.call(publish, channel, id .. ' ' .. prev .. ' ' .. ARGV[at + 2])
    ids[i] = id
  end
end
if due then redis.call('XTRIM', log, 'MINID', string.format('%.0f', math.max(0, now - tonumber(ARGV[3])))) end
while total - base > maxBytes do
  local oldest = redis.call('XRANGE', log, '-', '+', 'COUNT', 2)
  if not oldest[1] then break end
  base = tonumber(oldest[1][2][6])
  if total - base <= maxBytes or not oldest[2] then break end
  redis.call('XDEL', log, oldest[1][1])
end
keep()
local life = tonumber(ARGV[5])
if due or life ~= tonumber(ARGV[3]) then redis.call('PEXPIRE', log, string.format('%.0f', life == tonumber(ARGV[3]) and life + window or life)) end
local all = table.concat(ids, ' ')
redis.call('SET', mark, ARGV[1] .. ' ' .. all, 'PX', ARGV[11])
return all
`)

/**
 * KEYS: log, head. ARGV: 'after' or 'oldest', id, count, bytes, nonce, ms that a new genesis lives. Returns the head, 1
 * when linked, 1 when there is more, and id, prev and body of each event.
 */
export const READ = script(`${BEGIN_ANEW}
local log, head = KEYS[1], KEYS[2]
local state = redis.call('GET', head)
local last = state and string.match(state, '^%S+') or begin(log, head, ARGV[5], ARGV[6])
local after, count, bytes = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local result = { last, 1, 0 }
if ARGV[1] == 'after' and after == last then return result end
local from = '-'
if ARGV[1] == 'after' then
  result[2] = 0
  local short = string.match(after, '^(%d+%-%d+)%.')
  local place = short and #short < 28 and redis.call('XRANGE', log, short, short)[1]
  if place and place[1] .. '.' .. place[2][2] == after then
    result[2], from = 1, '(' .. short
  else
    local oldest = redis.call('XRANGE', log, '-', '+', 'COUNT', 1)[1]
    if oldest and oldest[2][4] == after then result[2] = 1 end
  end
end
local size, taken, id = 0, 0, nil
while taken < count and size < bytes do
  local some = redis.call('XRANGE', log, from, '+', 'COUNT', math.min(count - taken, 32))
  if #some == 0 then break end
  for _, entry in ipairs(some) do
    if taken > 0 and size >= bytes then break end
    local fields = entry[2]
    id = entry[1] .. '.' .. fields[2]
    result[#result + 1] = id
    result[#result + 1] = fields[4]
    result[#result + 1] = fields[8]
    size = size + #fields[8]
    taken = taken + 1
    from = '(' .. entry[1]
  end
end
if id and id ~= last then result[3] = 1 end
return result
`)

/**
 * KEYS: log, head, fork. ARGV: an id acknowledged before the server changed, what servers came since, nonce, ms a genesis
 * lives, 'PUBLISH' or 'SPUBLISH', channel, the server or '-'. When the id is not in the log any more, acknowledged events may be lost, and
 * listeners that did not get them would link past the loss: the log begins anew, once for each server. One that is not
 * newer than what this server began with was trimmed: a server that lost it lost all that came behind it too.
 */
export const VERIFY = script(`${BEGIN_ANEW}
local log, head, fork = KEYS[1], KEYS[2], KEYS[3]
local state = redis.call('GET', head)
if not state then
  redis.call(ARGV[5], ARGV[6], '?')
  return 'gone'
end
if string.match(state, '^%S+') == ARGV[1] then return 'kept' end
local short = string.match(ARGV[1], '^(%d+%-%d+)%.')
local place = short and redis.call('XRANGE', log, short, short)[1]
if place and place[1] .. '.' .. place[2][2] == ARGV[1] then return 'kept' end
local last, server, bound = string.match(state, '^(%S+) %d+ %d+ (%S+) (%S+)$')
if last and server ~= '-' and ARGV[7] ~= '-' then
  if server ~= ARGV[7] then bound = last end
  local ms, seq = string.match(ARGV[1], '^(%d+)-(%d+)')
  local boundMs, boundSeq = string.match(bound, '^(%d+)-(%d+)')
  ms, boundMs = tonumber(ms), tonumber(boundMs)
  if ms < boundMs or (ms == boundMs and tonumber(seq) <= tonumber(boundSeq)) then return 'kept' end
end
local known = redis.call('GET', fork)
for server in string.gmatch(ARGV[2], '%S+') do
  if known and string.find(known, server, 1, true) then return 'known' end
end
-- A DEL is first in it: so it goes through also where Redis is out of memory.
begin(log, head, ARGV[3], ARGV[4])
redis.call('SET', fork, ARGV[2], 'PX', 3600000)
redis.call(ARGV[5], ARGV[6], '?')
return 'forked'
`)

/** KEYS: owner. ARGV: node, ms. Returns who owns it now. */
export const CLAIM = script(`
local owner = redis.call('GET', KEYS[1])
if owner and owner ~= ARGV[1] then return owner end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return ARGV[1]
`)

/** KEYS: owner. ARGV: owner, the next one or '', its ms. */
export const RELEASE = script(`
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[2] == '' then return redis.call('DEL', KEYS[1]) end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
`)
