/** APPEND: the script that appends events of a topic in one step. */
import { HEAD_OF, PARTS, script, STATE_OF, type Script } from './lua.ts'

/** The limits of a topic's log. They are constants in the text of its script, so that no command has to carry them. */
export interface AppendPolicy {
  readonly limit: number
  /** ms */
  readonly maxAge: number
  readonly maxBytes: number
  /** How long the log is kept, ms. */
  readonly life: number
  /** How long the head is kept, ms. */
  readonly headLife: number
  /** Only for a keyed topic. */
  readonly keyed?: { readonly maxKeys: number, readonly maxBytes: number, readonly lifetime: number }
  readonly announce: 'PUBLISH' | 'SPUBLISH'
}

/** From this limit on Redis trims whole nodes of the stream (up to 100 events, or 4 KB), which takes half the time. */
const EXACT_LIMIT = 256
const MARK_MS = 600_000
/** If a foreign entry at the log's end is at most so far ahead of the clock, ms, the log continues after it. */
const AHEAD_MS = 60_000
/** At most so many foreign entries at the log's end are skipped. With that many or more, the log begins anew. */
const STRANGERS = 100
/** Arguments of APPEND before the events. */
const HEAD_ARGUMENTS = 8

/** The part of APPEND that only keyed topics have. It follows the reading of the head. */
const KEYED_BEGIN = `
local state = KEYS[#KEYS]
local held = stateBytes(state, id)
if not held then
  redis.call('DEL', state)
  held = '0'
  if string.sub(id, 1, 4) ~= '0-0.' then
    redis.call('DEL', log)
    id, ms, seq, total, base = '0-0.' .. ARGV[7], '0', '0', '0', '0'
  end
end
held = held + 0
`

/** Why an event of a keyed topic is not appended: `~` if there is nothing to remove, `#` if the state is full. */
const keyedRefusal = ({ maxKeys, maxBytes }: NonNullable<AppendPolicy['keyed']>): string => `
local function refusal (change, key, body)
  local before = redis.call('HSTRLEN', state, key)
  if change == '-' then return before == 0 and '~' end
  if before == 0 and math.max(redis.call('HLEN', state) - 1, 0) >= ${maxKeys} then return '#k' end
  return held - before + #body > ${maxBytes} and '#b'
end
`

const KEYED_CHANGE = `
    held = held - redis.call('HSTRLEN', state, key)
    if change == '-' then
      redis.call('HDEL', state, key)
    else
      local value = id .. ' ' .. body
      redis.call('HSET', state, key, value)
      held = held + #value
    end
`

/**
 * KEYS: log, head, mark, owner, dedupe keys, and for a keyed topic the state. ARGV: the batch's number; the number of
 * the batch that must have come before it, or ''; the oldest number that is not acknowledged; nonce; channel; owner or
 * ''; nonce for a genesis (another at each attempt); the server or '-'. Then for each event: index of its dedupe key or
 * 0, bytes of its data, body, and for a keyed topic `+` (put) or `-` (remove) and the key. After the index there may be
 * `=` and the id that must be the last one, or `-`: the topic must have no event yet. Returns the ids, joined by
 * spaces. An event that was not appended has instead: `!` and the last id, if another id was expected; for a keyed
 * topic `~` if there was nothing to remove, `#k` or `#b` if the state has too many keys or bytes.
 *
 * The mark makes three things safe: to send a batch before the last one is acknowledged, to send a batch again, and
 * that a batch arrives after it was given up. A batch is applied once, after the one that was sent before it, and never
 * after a later one of the same node. The mark holds a line `<number> <ids>` for each batch that is not acknowledged
 * yet, the newest first.
 *
 * Numbers stay text where possible: converting them would take most of the script's time.
 */
function append ({ limit, maxAge, maxBytes, life, headLife, announce, keyed }: AppendPolicy): Script {
  const step = keyed ? 4 : 3
  return script(`${HEAD_OF}${PARTS}${keyed ? STATE_OF : ''}
local function stuck (added)
  return type(added) == 'table' and (string.find(added.err, 'WRONGTYPE', 1, true) or string.find(added.err, ' ID[ ,]'))
end
local log, head, mark = KEYS[1], KEYS[2], KEYS[3]
local batch, nonce = ARGV[1], ARGV[4]
local found = redis.call('MGET', mark, head)
local done, state = found[1], found[2]
local last = done and (string.match(done, '^(%d+) !?%d+%-%d+%.')${keyed
? `
  or string.match(done, '^(%d+) ~') or string.match(done, '^(%d+) #[kb]')`
: ''})
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
${keyed ? KEYED_BEGIN + keyedRefusal(keyed) : ''}
if server ~= ARGV[8] then server, bound = ARGV[8], id end
-- Age is seen to once in a window of half the age: a busy log is spared two commands at each event.
local due = math.floor(now / ${maxAge / 2}) ~= math.floor(ms / ${maxAge / 2})
local ids, told = {}, {}
for i = 1, (#ARGV - ${HEAD_ARGUMENTS}) / ${step} do
  local at = ${HEAD_ARGUMENTS + 1 - step} + i * ${step}
  local dedupe, sign, expected
  if ARGV[at] ~= '0' then
    dedupe, sign, expected = string.match(ARGV[at], '^(%d+)([=-]?)(.*)$')
    dedupe = dedupe ~= '0' and KEYS[4 + dedupe]
  end
  ${keyed ? 'local change, key = string.sub(ARGV[at + 3], 1, 1), string.sub(ARGV[at + 3], 2)' : ''}
  local known = dedupe and valueOf(dedupe)
  if known and #known < 128 and string.match(known, '^%d+%-%d+%.[%w_%-]+$') then
    ids[i] = known
  elseif (sign == '=' and expected ~= id) or (sign == '-' and string.sub(id, 1, 4) ~= '0-0.') then
    ids[i] = '!' .. id
  ${keyed
? `else
    ids[i] = refusal(change, key, ARGV[at + 2])
  end
  if not ids[i] then`
: 'else'}
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
      ${keyed
? `-- What is in the state must stay older than what follows.
      prev = ms .. '-' .. seq .. '.' .. ARGV[7]
      seq = string.format('%d', seq + 1)
      total, base, bound = '0', '0', prev`
: 'prev, ms, seq, total, base, bound = \'0-0.\' .. ARGV[7], now, \'0\', \'0\', \'0\', \'0-0.\' .. ARGV[7]'}
      short = ms .. '-' .. seq
      added = redis.call('XADD', log, short, 'n', own, 'p', prev, 'c', total, 'e', body)
    end
    if type(added) == 'table' then return added end
    id = short .. '.' .. own
    total = string.format('%d', total + ARGV[at + 1])
    if dedupe then redis.call('SET', dedupe, id, 'PX', '${maxAge}') end
    ${keyed ? KEYED_CHANGE : ''}
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
${keyed
? `if #told > 0 then
  redis.call('HSET', state, '', id .. ' ' .. string.format('%d', math.max(held, 0)))
  redis.call('PEXPIRE', state, '${keyed.lifetime}')
end`
: ''}
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

/** Scripts are kept for at most so many policies. Above it all are dropped and made again. */
const MAX_KNOWN = 1000
const known = new Map<string, Script>()

export function appendScript (policy: AppendPolicy): Script {
  const key = JSON.stringify(policy)
  let made = known.get(key)
  if (made) return made
  if (known.size >= MAX_KNOWN) known.clear()
  known.set(key, made = append(policy))
  return made
}
