/**
 * What must be one step in Redis. A log is a stream `<ms>-<seq>` with the fields `n` (nonce), `p` (prev), `c` (bytes
 * appended before it) and `e` (the event), in this order; a later version may put others behind them. The head is
 * `<id> <bytes ever appended> <bytes known to be trimmed> <server> <the last id from before that server>`, and what a
 * later version puts behind. Bodies are never looked into, and never parsed.
 *
 * Threat: anybody's hand may have been on these keys. What is none of ours never makes a script fail: a head that
 * cannot be read, or a log that takes no event any more, begins anew, which listeners are told as a loss; an entry that
 * cannot be read is handed on as such.
 */
import { createHash } from 'node:crypto'

export interface Script { readonly lua: string, readonly sha: string }

export function script (lua: string): Script {
  return { lua, sha: createHash('sha1').update(lua).digest('hex') }
}

/** A value of another type counts as none; so does a head that is none. */
const HEAD_OF = `
local function valueOf (key)
  local value = redis.pcall('GET', key)
  return type(value) == 'string' and value
end
local function headOf (state)
  if not state then return nil end
  local id, ms, seq, total, base, server, bound =
    string.match(state, '^((%d+)-(%d+)%.[%w_%-]+) (%d+) (%d+) ?(%S*) ?(%S*)')
  if not id or #id > 128 or #ms > 15 or #seq > 15 or #total > 15 or #base > 15
      or #server > 64 or #bound > 128 then return nil end
  return id, ms, seq, total, base, server, bound
end
`

/** Of an entry's fields: nonce, prev, bytes before it, body. Nothing of what a stranger added. */
const PARTS = `
local function parts (fields)
  if fields[1] ~= 'n' or fields[3] ~= 'p' or fields[5] ~= 'c' or fields[7] ~= 'e' then return nil end
  return fields[2], fields[4], fields[6], fields[8]
end
`

const BEGIN_ANEW = `
local function begin (log, head, nonce, ttl)
  local id = '0-0.' .. nonce .. 'g'
  redis.call('DEL', log)
  redis.call('SET', head, id .. ' 0 0', 'PX', ttl)
  return id
end
`

/** What a topic's declaration says of its log; in the text of its script, so that Redis need not be told each time. */
export interface AppendPolicy {
  readonly limit: number
  /** ms */
  readonly maxAge: number
  readonly maxBytes: number
  /** ms the log lives. */
  readonly life: number
  /** ms the head lives. */
  readonly headLife: number
  readonly announce: 'PUBLISH' | 'SPUBLISH'
}

/** From here on a log is cut by whole nodes of the stream (up to 100 events, or 4 KB), which takes half the time. */
const EXACT_LIMIT = 256
const MARK_MS = 600_000
/** A log goes on behind an id that is so far ahead of the clock. */
const AHEAD_MS = 60_000
/** Entries of others at its end among which the last is looked for. */
const STRANGERS = 100
/** Arguments of APPEND before the events. */
const HEAD_ARGUMENTS = 8

/**
 * KEYS: log, head, mark, owner, dedupe keys. ARGV: batch number, the number of the one that must be there before it or
 * '', the oldest number that is not acknowledged, nonce, channel, owner or '', nonce of a genesis (another at each
 * attempt), the server or '-', then for each event: index of its dedupe key or 0, bytes of its data, body. Behind the
 * index may stand `=` and the id that must be the last one, or `-`: there must be no event yet. Returns the ids, joined
 * by spaces; of an event that was not appended, since another id was the last, `!` and that one.
 *
 * The mark makes it safe to send batches behind each other, to send them again, and to have a given-up one arrive late:
 * a batch is applied once, behind the one that was sent before it, and never behind a later one of the same node. It
 * holds `<number> <ids>` of those that are not acknowledged yet, a line each, the newest first.
 *
 * Numbers stay text where they can: most of the script's time would go into turning them to and fro.
 */
function append ({ limit, maxAge, maxBytes, life, headLife, announce }: AppendPolicy): Script {
  return script(`${HEAD_OF}${PARTS}
local function stuck (added)
  return type(added) == 'table' and (string.find(added.err, 'WRONGTYPE', 1, true) or string.find(added.err, ' ID[ ,]'))
end
local log, head, mark = KEYS[1], KEYS[2], KEYS[3]
local batch, nonce = ARGV[1], ARGV[4]
local found = redis.call('MGET', mark, head)
local done, state = found[1], found[2]
local last = done and string.match(done, '^(%d+) !?%d+%-%d+%.')
if last and #last < 16 and tonumber(last) >= tonumber(batch) then
  return string.match('\\n' .. done, '\\n' .. batch .. ' ([^\\n]*)') or ''
end
if ARGV[2] ~= '' and last ~= ARGV[2] then return redis.error_reply('GAP the batch before this one is missing') end
if ARGV[6] ~= '' and valueOf(KEYS[4]) ~= ARGV[6] then
  return redis.error_reply('NOTOWNER the topic belongs to another node')
end
local time = redis.call('TIME')
local now = time[1] .. string.sub('00000' .. time[2], -6, -4)
local id, ms, seq, total, base, server, bound = headOf(state)
if not id then
  id, ms, seq, total, base = '0-0.' .. ARGV[7], '0', '0', '0', '0'
  -- Only where it is there: behind a write Redis would let the rest pass although it is out of memory.
  if redis.call('EXISTS', log) == 1 then redis.call('DEL', log) end
end
if server ~= ARGV[8] then server, bound = ARGV[8], id end
-- Age is seen to once in a window of half the age: a busy log is spared two commands at each event.
local due = math.floor(now / ${maxAge / 2}) ~= math.floor(ms / ${maxAge / 2})
local ids, told = {}, {}
for i = 1, (#ARGV - ${HEAD_ARGUMENTS}) / 3 do
  local at = ${HEAD_ARGUMENTS - 2} + i * 3
  local key, sign, expected
  if ARGV[at] ~= '0' then
    key, sign, expected = string.match(ARGV[at], '^(%d+)([=-]?)(.*)$')
    key = key ~= '0' and KEYS[4 + key]
  end
  local known = key and valueOf(key)
  if known and #known < 128 and string.match(known, '^%d+%-%d+%.[%w_%-]+$') then
    ids[i] = known
  elseif (sign == '=' and expected ~= id) or (sign == '-' and string.sub(id, 1, 4) ~= '0-0.') then
    ids[i] = '!' .. id
  else
    if #now > #ms or (#now == #ms and now > ms) then ms, seq = now, '0' else seq = string.format('%d', seq + 1) end
    local own = i == 1 and nonce or nonce .. '_' .. i
    local short = ms .. '-' .. seq
    local prev, body = id, ARGV[at + 2]
    local added = redis.pcall('XADD', log, 'MAXLEN', ${limit < EXACT_LIMIT ? '' : "'~', "}'${limit}', short,
      'n', own, 'p', prev, 'c', total, 'e', body)
    if stuck(added) then
      -- A stranger's entry is at its end: behind it, unless it is of a time to come.
      local above = redis.pcall('XRANGE', log, short, '+', 'COUNT', ${STRANGERS})
      local top = #above < ${STRANGERS} and above[#above]
      local topMs, topSeq = string.match(top and top[1] or '', '^(%d+)-(%d+)$')
      if topMs and #topSeq < 16 and tonumber(topMs) <= now + ${AHEAD_MS} then
        ms, seq = topMs, string.format('%d', topSeq + 1)
        short = ms .. '-' .. seq
        added = redis.pcall('XADD', log, short, 'n', own, 'p', prev, 'c', total, 'e', body)
      end
    end
    if stuck(added) then
      redis.call('DEL', log)
      prev, ms, seq, total, base, bound = '0-0.' .. ARGV[7], now, '0', '0', '0', '0-0.' .. ARGV[7]
      short = ms .. '-' .. seq
      added = redis.call('XADD', log, short, 'n', own, 'p', prev, 'c', total, 'e', body)
    end
    if type(added) == 'table' then return added end
    id = short .. '.' .. own
    total = string.format('%d', total + ARGV[at + 1])
    if key then redis.call('SET', key, id, 'PX', '${maxAge}') end
    told[#told + 1] = id .. ' ' .. prev .. ' ' .. body
    ids[i] = id
  end
end
if #told == 1 then
  redis.call('${announce}', ARGV[5], told[1])
elseif #told > 1 then
  for i, one in ipairs(told) do told[i] = '\\n' .. #one .. ' ' .. one end
  redis.call('${announce}', ARGV[5], '&' .. table.concat(told))
end
if due then redis.call('XTRIM', log, 'MINID', string.format('%d', math.max(0, now - ${maxAge}))) end
if total - base < 0 then base = total end
while total - base > ${maxBytes} do
  local oldest = redis.call('XRANGE', log, '-', '+', 'COUNT', 2)
  if not oldest[1] then break end
  local _, _, before = parts(oldest[1][2])
  local known = before and #before < 16 and string.match(before, '^%d+$') and total - before >= 0
  if known then base = before end
  if (known and total - base <= ${maxBytes}) or not oldest[2] then break end
  redis.call('XDEL', log, oldest[1][1])
end
redis.call('SET', head, id .. ' ' .. total .. ' ' .. base .. ' ' .. server .. ' ' .. bound, 'PX', '${headLife}')
${life === maxAge ? 'if due then' : 'do'}
  redis.call('PEXPIRE', log, '${life === maxAge ? Math.ceil(life * 1.5) : life}')
end
local all = table.concat(ids, ' ')
local record = batch .. ' ' .. all
if ARGV[3] ~= batch and done then
  for line in string.gmatch(done, '[^\\n]+') do
    local number = tonumber(string.match(line, '^%d+') or '')
    if not number or number < tonumber(ARGV[3]) then break end
    record = record .. '\\n' .. line
  end
end
redis.call('SET', mark, record, 'PX', '${MARK_MS}')
return all
`)
}

/** Policies whose scripts are kept made. */
const MAX_KNOWN = 1000
const known = new Map<string, Script>()

/** APPEND for a topic's policy. */
export function appendScript (policy: AppendPolicy): Script {
  const key = JSON.stringify(policy)
  let made = known.get(key)
  if (made) return made
  if (known.size >= MAX_KNOWN) known.clear()
  known.set(key, made = append(policy))
  return made
}

/**
 * KEYS: log, head. ARGV: 'after', 'oldest', or 'behind' a place in the stream, id, count, bytes, nonce, ms that a new
 * genesis lives. Returns the head, 1 when linked, 1 when there is more, and id, prev and body of each event; of an
 * entry that is none of ours its place in the stream, and two empty texts.
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

/** KEYS: log and head of each topic. ARGV: nonce, ms that a new genesis lives. Returns the heads. */
export const HEADS = script(`${HEAD_OF}${BEGIN_ANEW}
local heads = {}
for i = 2, #KEYS, 2 do
  heads[i / 2] = headOf(valueOf(KEYS[i])) or begin(KEYS[i - 1], KEYS[i], ARGV[1] .. '_' .. i, ARGV[2])
end
return heads
`)

/**
 * KEYS: log, head, fork. ARGV: an id acknowledged before the server changed, what servers came since, nonce, ms a
 * genesis lives, 'PUBLISH' or 'SPUBLISH', channel, the server or '-'. When the id is not in the log any more,
 * acknowledged events may be lost, and listeners that did not get them would link past the loss: the log begins anew,
 * once for each server. One that is not newer than what this server began with was trimmed: a server that lost it lost
 * all that came behind it too.
 */
export const VERIFY = script(`${HEAD_OF}${PARTS}${BEGIN_ANEW}
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
begin(log, head, ARGV[3], ARGV[4])
redis.call('SET', fork, ARGV[2], 'PX', 3600000)
redis.call(ARGV[5], ARGV[6], '?')
return 'forked'
`)

/** A lease ends by itself: what would stand for ever is no lease, and is given an end. */
const OWNER_OF = `
local function ownerOf (key, ms)
  local owner = redis.pcall('GET', key)
  if type(owner) ~= 'string' or owner == '' or #owner > 128 then return nil end
  redis.call('PEXPIRE', key, ms, 'NX')
  return owner
end
`

/** KEYS: owner. ARGV: ms. Returns who owns it now, or nothing. */
export const OWNER = script(`${OWNER_OF}
return ownerOf(KEYS[1], ARGV[1]) or false
`)

/** KEYS: owner. ARGV: node, ms. Returns who owns it now. */
export const CLAIM = script(`${OWNER_OF}
local owner = ownerOf(KEYS[1], ARGV[2])
if owner and owner ~= ARGV[1] then return owner end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return ARGV[1]
`)

/** KEYS: owner. ARGV: owner, the next one or '', its ms. */
export const RELEASE = script(`
if redis.pcall('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[2] == '' then return redis.call('DEL', KEYS[1]) end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
`)
