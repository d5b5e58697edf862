/**
 * Members in Redis. Each topic has, in its slot: log, head and state as every keyed topic, where the body of a member
 * names the nodes that hold it (`h=,a,b,`); and `nodes`, a hash of node → the token of its last batch, or `x<ms>` if
 * the node was reaped here. One slot for all topics has: the registry, a hash of node → `<beats> <grace>`, or `x<steps>
 * <reaper> <reason> <grace>` if the node is dead; and for each node the set of its topics.
 *
 * A token means: the state has all that this node has said of the topic up to here. If state, head or log are lost, the
 * tokens are lost with them.
 */
import { HEAD_OF, script, STATE_OF } from '../lua.ts'

/** The number of arguments that HOLD and REAP share. */
const HEADER = 10
/** How long a topic without members is kept, ms. */
const EMPTY_MS = 3_600_000

/**
 * KEYS: log, head, state, nodes. ARGV: nonce, channel, 'PUBLISH' or 'SPUBLISH', ms that all of it lives, the server,
 * number of events kept, what the body of an event starts with, `count` or `members`, the most members, the node.
 *
 * XADD comes first: if Redis is out of memory, nothing has been written then.
 */
const BEGIN = `${HEAD_OF}${STATE_OF}
local log, head, state, nodes = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local nonce, life, node = ARGV[1], ARGV[4], ARGV[10]
local time = redis.call('TIME')
local now = time[1] .. string.sub('00000' .. time[2], -6, -4)
local id, ms, seq, total, base, server, bound = headOf(valueOf(head))
-- What was said before may be lost: the nodes that have members here are told to compare.
local anew = not id
if not id then
  id, ms, seq, total, base = '0-0.' .. nonce .. 'g', '0', '0', '0', '0'
  if redis.call('EXISTS', log) == 1 then redis.call('DEL', log) end
end
if not stateBytes(state, id) then
  anew = true
  redis.call('DEL', state, nodes)
  if string.sub(id, 1, 4) ~= '0-0.' then
    redis.call('DEL', log)
    id, ms, seq, total, base = '0-0.' .. nonce .. 'g', '0', '0', '0', '0'
  end
elseif redis.call('EXISTS', state) == 0 and redis.call('EXISTS', nodes) == 1 then
  anew = true
  redis.call('DEL', nodes)
elseif redis.call('HLEN', state) > 1 and redis.pcall('HEXISTS', nodes, '') ~= 1 then
  -- Who holds them is not known any more: one that died meanwhile would never be missed.
  anew = true
  redis.call('DEL', state, nodes, log)
  id, ms, seq, total, base = '0-0.' .. nonce .. 'g', '0', '0', '0', '0'
end
if server ~= ARGV[5] then server, bound = ARGV[5], id end
local known = redis.pcall('HGET', nodes, node)
if type(known) == 'table' then
  redis.call('DEL', nodes)
  known = false
end
-- Since when there are tokens: all that was held before was lost with those before them.
local birth = redis.call('HGET', nodes, '')
if not birth then
  birth = now .. nonce
end
local told = {}
local function add (rest)
  if #now > #ms or (#now == #ms and now > ms) then ms, seq = now, '0' else seq = string.format('%d', seq + 1) end
  local own, prev, body = nonce .. '_' .. (#told + 1), id, ARGV[7] .. rest
  local added = redis.pcall('XADD', log, 'MAXLEN', '~', ARGV[6], ms .. '-' .. seq,
    'n', own, 'p', prev, 'c', total, 'e', body)
  if type(added) == 'table' and (string.find(added.err, 'WRONGTYPE', 1, true) or string.find(added.err, ' ID[ ,]')) then
    redis.call('DEL', log)
    -- What is in the state must stay older than what follows.
    prev, seq, total, base = ms .. '-' .. seq .. '.' .. nonce .. 'g', string.format('%d', seq + 1), '0', '0'
    bound = prev
    added = redis.call('XADD', log, ms .. '-' .. seq, 'n', own, 'p', prev, 'c', total, 'e', body)
  end
  if type(added) == 'table' then error(added.err) end
  id = ms .. '-' .. seq .. '.' .. own
  total = string.format('%d', total + #body)
  told[#told + 1] = id .. ' ' .. prev .. ' ' .. body
end
local function holding (value)
  local at, holders, rest = string.match(value or '', '^(%S+) j %d+ %d+ h=(%S*)\\n(.*)$')
  return at, holders, rest
end
local function value (at, key, holders, text)
  return at .. ' j 6 ' .. #key .. ' h=' .. holders .. '\\nmember' .. key .. text
end
local function without (holders, one)
  local from, to = string.find(holders, ',' .. one .. ',', 1, true)
  return from and string.sub(holders, 1, from) .. string.sub(holders, to + 1) or holders
end
local size = math.max(redis.call('HLEN', state) - 1, 0)
-- Joins and updates are texts of members, leaves are ids, as JSON.
local function tell (joins, updates, leaves)
  if ARGV[8] == 'count' then
    local gone = #leaves.left + #leaves.lost + #leaves.removed
    if #joins + gone > 0 then add(',"type":"count","count":' .. (size + #joins - gone) .. '}') end
    return
  end
  for _, reason in ipairs({ 'left', 'lost', 'removed' }) do
    if #leaves[reason] > 0 then
      add(',"type":"leave","ids":[' .. table.concat(leaves[reason], ',') .. '],"reason":"' .. reason .. '"}')
    end
  end
  if #updates > 0 then add(',"type":"update","members":[' .. table.concat(updates, ',') .. ']}') end
  if #joins > 0 then add(',"type":"join","members":[' .. table.concat(joins, ',') .. ']}') end
end
local function finish ()
  -- Where nobody is there any more, and soon nobody remembers.
  if redis.call('HLEN', state) <= 1 then life = '${EMPTY_MS}' end
  redis.call('HSET', nodes, '', birth)
  redis.call('HSET', state, '', id .. ' 0')
  redis.call('SET', head, id .. ' ' .. total .. ' ' .. base .. ' ' .. server .. ' ' .. bound, 'PX', life)
  for _, key in ipairs({ log, state, nodes }) do redis.call('PEXPIRE', key, life) end
  if anew then redis.call(ARGV[3], ARGV[2], '?') end
  if #told == 1 then
    redis.call(ARGV[3], ARGV[2], told[1])
  elseif #told > 1 then
    for i, one in ipairs(told) do told[i] = '\\n' .. #one .. ' ' .. one end
    redis.call(ARGV[3], ARGV[2], '&' .. table.concat(told))
  end
end
`

/**
 * What a node says of a topic. ARGV after the header: the token of the batch before, or ''; the token of this one; then
 * for each member `=` (there, shown as other nodes show it), `+` (there, shown with this text), `-`, `r` or `l` (gone:
 * left, removed, lost), its id, and its text, or for one that is gone the id as JSON.
 *
 * Returns `done`, the last id, the topic's birth, and the ids of members that have joined, left, were lost, were
 * removed, and found no room. If the batch before is not there, it does nothing and returns `lost` and the present
 * token. If the node was reaped, it returns `dead`.
 */
export const HOLD = script(`${BEGIN}
local reasons = { ['-'] = 'left', r = 'removed', l = 'lost' }
if known == ARGV[${HEADER + 2}] then
  local refused = {}
  for i = ${HEADER + 3}, #ARGV, 3 do
    local at, holders = holding(redis.call('HGET', state, ARGV[i + 1]))
    local held = at and string.find(holders, ',' .. node .. ',', 1, true)
    if not reasons[ARGV[i]] and not held then refused[#refused + 1] = ARGV[i + 1] end
  end
  return { 'done', id, birth, {}, {}, {}, {}, refused }
end
if known and string.sub(known, 1, 1) == 'x' then return { 'dead' } end
if (known or '') ~= ARGV[${HEADER + 1}] then return { 'lost', known or '' } end
local joins, updates, leaves = {}, {}, { left = {}, lost = {}, removed = {} }
local ids = { joined = {}, left = {}, lost = {}, removed = {}, refused = {} }
local sets, news, dels = {}, {}, {}
for i = ${HEADER + 3}, #ARGV, 3 do
  local kind, key, text = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local at, holders, rest = holding(redis.call('HGET', state, key))
  local reason = reasons[kind]
  if reason then
    local left = at and without(holders, node)
    if left == ',' then
      dels[#dels + 1] = key
      table.insert(leaves[reason], text)
      table.insert(ids[reason], key)
    elseif at and left ~= holders then
      sets[#sets + 1] = { key, at .. ' j 6 ' .. #key .. ' h=' .. left .. '\\n' .. rest }
    end
  elseif not at then
    if size + #joins - #dels < tonumber(ARGV[9]) then
      joins[#joins + 1] = text
      table.insert(ids.joined, key)
      news[#news + 1] = { key, ',' .. node .. ',', text }
    else
      table.insert(ids.refused, key)
    end
  else
    if not string.find(holders, ',' .. node .. ',', 1, true) then holders = holders .. node .. ',' end
    if kind == '+' and string.sub(rest, 7 + #key) ~= text then
      updates[#updates + 1] = text
      news[#news + 1] = { key, holders, text }
    else
      sets[#sets + 1] = { key, at .. ' j 6 ' .. #key .. ' h=' .. holders .. '\\n' .. rest }
    end
  end
end
tell(joins, updates, leaves)
for _, one in ipairs(news) do redis.call('HSET', state, one[1], value(id, one[1], one[2], one[3])) end
for _, one in ipairs(sets) do redis.call('HSET', state, one[1], one[2]) end
for _, key in ipairs(dels) do redis.call('HDEL', state, key) end
redis.call('HSET', nodes, node, ARGV[${HEADER + 2}])
finish()
return { 'done', id, birth, ids.joined, ids.left, ids.lost, ids.removed, ids.refused }
`)

/** How long reaped nodes are remembered, ms. What they say late is not accepted. */
const REMEMBERED_MS = 3_600_000

/** A place in a hash. It is valid on one server only. */
const PLACE = `
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)') or ''
local function placeOf (text)
  local server, place = string.match(text, '^(%w*) (%d+)$')
  return server == run and place or '0'
end
local function nextOf (place) return place == '0' and '' or run .. ' ' .. place end
`

/**
 * Removes all that a node holds. ARGV after the header: where the part starts, or ''; keys of a part; the reason.
 * Returns where the next part starts, or ''; the last id; and the ids of the members that are gone.
 */
export const REAP = script(`${BEGIN}${PLACE}
local reason = ARGV[${HEADER + 3}]
redis.call('HSET', nodes, node, 'x' .. now)
local found = redis.call('HSCAN', state, placeOf(ARGV[${HEADER + 1}]), 'COUNT', ARGV[${HEADER + 2}])
local leaves, ids, sets, dels = { left = {}, lost = {}, removed = {} }, {}, {}, {}
for i = 1, #found[2], 2 do
  local key = found[2][i]
  local at, holders, rest = holding(found[2][i + 1])
  local left = at and key ~= '' and without(holders, node)
  if left == ',' then
    dels[#dels + 1] = key
    table.insert(leaves[reason], cjson.encode(key))
    table.insert(ids, key)
  elseif left and left ~= holders then
    sets[#sets + 1] = { key, at .. ' j 6 ' .. #key .. ' h=' .. left .. '\\n' .. rest }
  end
end
tell({}, {}, leaves)
for _, one in ipairs(sets) do redis.call('HSET', state, one[1], one[2]) end
for _, key in ipairs(dels) do redis.call('HDEL', state, key) end
if found[1] == '0' then
  local all = redis.call('HGETALL', nodes)
  for i = 1, #all, 2 do
    local since = string.match(all[i + 1], '^x(%d+)$')
    if since and now - since > ${REMEMBERED_MS} then redis.call('HDEL', nodes, all[i]) end
  end
end
finish()
return { nextOf(found[1]), id, ids }
`)

/** KEYS: nodes. Returns the nodes that were not reaped. */
export const NODES = script(`
local all = redis.pcall('HGETALL', KEYS[1])
local result = {}
for i = 1, all.err and 0 or #all, 2 do
  if all[i] ~= '' and string.sub(all[i + 1], 1, 1) ~= 'x' then result[#result + 1] = all[i] end
end
return result
`)

/**
 * KEYS: state. ARGV: where the part starts, or ''; keys; node. Returns where the next part starts, and id and text of
 * each member.
 */
export const HELD = script(`${PLACE}
local found = redis.pcall('HSCAN', KEYS[1], placeOf(ARGV[1]), 'COUNT', ARGV[2])
if found.err then return { '' } end
local result = { nextOf(found[1]) }
for i = 1, #found[2], 2 do
  local holders, rest = string.match(found[2][i + 1], '^%S+ j %d+ %d+ h=(%S*)\\n(.*)$')
  if holders and found[2][i] ~= '' and string.find(holders, ',' .. ARGV[3] .. ',', 1, true) then
    result[#result + 1] = found[2][i]
    result[#result + 1] = string.sub(rest, 7 + #found[2][i])
  end
end
return result
`)

// --- the registry ----------------------------------------------------------------------

/**
 * KEYS: registry. ARGV: node, grace, ms to live, 'new' or ''. Returns the whole registry, or nothing if the node is
 * dead.
 */
export const BEAT = script(`
local mine = redis.pcall('HGET', KEYS[1], ARGV[1])
if type(mine) == 'table' then redis.call('DEL', KEYS[1]) end
local beats = type(mine) == 'string' and string.match(mine, '^(%d+) ')
if not beats and ARGV[4] ~= 'new' then return false end
redis.call('HSET', KEYS[1], ARGV[1], string.format('%d', (beats or 0) + 1) .. ' ' .. ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return redis.call('HGETALL', KEYS[1])
`)

/** KEYS: registry, the node's topics. ARGV: node, topic, ms to live. Returns 0 if the node is dead. */
export const INDEX = script(`
local mine = redis.call('HGET', KEYS[1], ARGV[1])
if not mine or not string.match(mine, '^%d+ ') then return 0 end
local added = redis.pcall('SADD', KEYS[2], ARGV[2])
if type(added) == 'table' then
  redis.call('DEL', KEYS[2])
  redis.call('SADD', KEYS[2], ARGV[2])
end
redis.call('PEXPIRE', KEYS[2], ARGV[3])
return 1
`)

/** KEYS: the node's topics. ARGV: a topic in which the node holds no member any more. */
export const UNINDEX = script(`
redis.pcall('SREM', KEYS[1], ARGV[1])
return 1
`)

/** KEYS: registry. ARGV: node, the expected value or '*', the new value. Returns 0 if another value is there. */
export const MARK = script(`
local value = redis.call('HGET', KEYS[1], ARGV[1])
if ARGV[2] ~= '*' and value ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return 1
`)

/** KEYS: the node's topics. ARGV: where the part starts, count. */
export const TOPICS = script(`
local found = redis.pcall('SSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[2])
if found.err then return { '0' } end
return { found[1], unpack(found[2]) }
`)

/** KEYS: registry, the node's topics. ARGV: node, the expected value. */
export const FORGET = script(`
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('DEL', KEYS[2])
return 1
`)
