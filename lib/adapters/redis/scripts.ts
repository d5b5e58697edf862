/** Scripts for what must be one step in Redis. APPEND is in append-script.ts. */
import { BEGIN_ANEW, HEAD_OF, PARTS, script, STATE_OF } from './lua.ts'

/**
 * KEYS: log, head. ARGV: 'after', 'oldest', or 'behind' a place in the stream; id; count; bytes; nonce; ms that a new
 * genesis lives. Returns the head, 1 if linked, 1 if there is more, and id, prev and body of each event. For a foreign
 * entry it returns the place in the stream and two empty texts.
 */
export const READ = script(`${HEAD_OF}${PARTS}${BEGIN_ANEW}
local log, head = KEYS[1], KEYS[2]
local last = headOf(valueOf(head))
local front = redis.pcall('XRANGE', log, '-', '+', 'COUNT', 1)
-- No stream.
if not last or front.err then last = begin(log, head, ARGV[5], ARGV[6]) end
local after, count, bytes = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local result = { last, 1, 0 }
if ARGV[1] == 'after' and after == last then return result end
local from = '-'
if ARGV[1] == 'after' then
  result[2] = 0
  local short = string.match(after, '^(%d+%-%d+)%.')
  local place = short and #short < 28 and redis.call('XRANGE', log, short, short)[1]
  local nonce = place and parts(place[2])
  if nonce and place[1] .. '.' .. nonce == after then
    result[2], from = 1, '(' .. short
  else
    local oldest = front[1]
    local _, prev = parts(oldest and oldest[2] or {})
    if prev == after then result[2] = 1 end
  end
elseif ARGV[1] == 'behind' then
  from = '(' .. after
end
local size, taken, id = 0, 0, nil
while taken < count and size < bytes do
  -- There is nothing behind the last place of all, and it is an error to ask.
  local some = redis.pcall('XRANGE', log, from, '+', 'COUNT', math.min(count - taken, 32))
  if some.err or #some == 0 then break end
  for _, entry in ipairs(some) do
    if taken > 0 and size >= bytes then break end
    local nonce, prev, _, body = parts(entry[2])
    id = nonce and entry[1] .. '.' .. nonce or entry[1]
    result[#result + 1] = id
    result[#result + 1] = prev or ''
    result[#result + 1] = body or ''
    size = size + #(body or '')
    taken = taken + 1
    from = '(' .. entry[1]
  end
end
if id and id ~= last then result[3] = 1 end
return result
`)

/**
 * KEYS: log, head, state. ARGV: where the part starts, as the part before said, or ''; keys; nonce; ms that a new
 * genesis lives; 'PUBLISH' or 'SPUBLISH'; channel. Returns the head, where the next part starts or '', and key and
 * value of each event. A place in a hash is valid on one server only: another server starts over.
 */
export const STATE = script(`${HEAD_OF}${BEGIN_ANEW}${STATE_OF}
local log, head, state = KEYS[1], KEYS[2], KEYS[3]
local last = headOf(valueOf(head))
local held = last and stateBytes(state, last)
if not held then
  redis.call('DEL', state)
  if last and string.sub(last, 1, 4) == '0-0.' then return { last, '' } end
  local id = begin(log, head, ARGV[3], ARGV[4])
  if last then redis.call(ARGV[5], ARGV[6], '?') end
  return { id, '' }
end
local server = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)') or ''
local known, place = string.match(ARGV[1], '^(%w*) (%d+)$')
if known ~= server then place = '0' end
local found = redis.call('HSCAN', state, place, 'COUNT', ARGV[2])
local result = { last, found[1] == '0' and '' or server .. ' ' .. found[1] }
for i = 1, #found[2], 2 do
  if found[2][i] ~= '' then
    result[#result + 1] = found[2][i]
    result[#result + 1] = found[2][i + 1]
  end
end
return result
`)

/** KEYS: log and head of each topic. ARGV: nonce, ms that a new genesis lives. Returns the heads. */
export const HEADS = script(`${HEAD_OF}${BEGIN_ANEW}
local heads = {}
for i = 2, #KEYS, 2 do
  heads[i / 2] = headOf(valueOf(KEYS[i])) or begin(KEYS[i - 1], KEYS[i], ARGV[1] .. '_' .. i, ARGV[2])
end
return heads
`)

/**
 * KEYS: log, head, fork, state. ARGV: an id acknowledged before the server changed; the servers that are new; nonce; ms
 * a genesis lives; 'PUBLISH' or 'SPUBLISH'; channel; the server or '-'. If the id is not in the log any more,
 * acknowledged events may be lost, and listeners that did not get them would link past the loss. So the log begins
 * anew, once for each server. If the id is not newer than the one that this server began with, it was only trimmed: a
 * server that had lost it would also have lost all later ids. The state of a keyed topic stays, so what follows the new
 * genesis must be newer.
 */
export const VERIFY = script(`${HEAD_OF}${PARTS}${BEGIN_ANEW}${STATE_OF}
local log, head, fork = KEYS[1], KEYS[2], KEYS[3]
local last, _, _, _, _, server, bound = headOf(valueOf(head))
if not last then
  redis.call(ARGV[5], ARGV[6], '?')
  return 'gone'
end
if last == ARGV[1] then return 'kept' end
local short = string.match(ARGV[1], '^(%d+%-%d+)%.')
local places = short and redis.pcall('XRANGE', log, short, short)
local place = places and not places.err and places[1]
local nonce = place and parts(place[2])
if nonce and place[1] .. '.' .. nonce == ARGV[1] then return 'kept' end
if string.match(bound, '^%d+-%d+%.') and server ~= '' and server ~= '-' and ARGV[7] ~= '-' then
  if server ~= ARGV[7] then bound = last end
  local ms, seq = string.match(ARGV[1], '^(%d+)-(%d+)')
  local boundMs, boundSeq = string.match(bound, '^(%d+)-(%d+)')
  ms, boundMs = tonumber(ms), tonumber(boundMs)
  if ms < boundMs or (ms == boundMs and tonumber(seq) <= tonumber(boundSeq)) then return 'kept' end
end
local known = valueOf(fork)
for server in string.gmatch(ARGV[2], '%S+') do
  if known and string.find(known, server, 1, true) then return 'known' end
end
-- A DEL is first in it: so it goes through also where Redis is out of memory.
local state = KEYS[4]
local held = redis.call('EXISTS', state) == 1 and stateBytes(state, last)
local lives = held and redis.call('PTTL', state) or 0
begin(log, head, ARGV[3], ARGV[4])
if held then
  local genesis = string.match(last, '^%d+%-%d+') .. '.' .. ARGV[3] .. 'g'
  redis.call('SET', head, genesis .. ' 0 0', 'PX', string.format('%d', math.max(lives, ARGV[4])))
  redis.call('HSET', state, '', genesis .. ' ' .. held)
end
redis.call('SET', fork, ARGV[2], 'PX', 3600000)
redis.call(ARGV[5], ARGV[6], '?')
return 'forked'
`)

/** Every lease must end by itself. If a key has no time to live, it gets one. */
const OWNER_OF = `
local function ownerOf (key, ms)
  local owner = redis.pcall('GET', key)
  if type(owner) ~= 'string' or owner == '' or #owner > 128 then return nil end
  redis.call('PEXPIRE', key, ms, 'NX')
  return owner
end
`

/** KEYS: owner. ARGV: ms. Returns the owner, or nothing. */
export const OWNER = script(`${OWNER_OF}
return ownerOf(KEYS[1], ARGV[1]) or false
`)

/** KEYS: owner. ARGV: node, ms. Returns the present owner. */
export const CLAIM = script(`${OWNER_OF}
local owner = ownerOf(KEYS[1], ARGV[2])
if owner and owner ~= ARGV[1] then return owner end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return ARGV[1]
`)

/** KEYS: owner. ARGV: owner; the next owner or ''; ms for the next owner. */
export const RELEASE = script(`
if redis.pcall('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[2] == '' then return redis.call('DEL', KEYS[1]) end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
`)
