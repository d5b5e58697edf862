/**
 * What the scripts share, and how logs are stored. A log is a stream of entries `<ms>-<seq>` with the fields `n`
 * (nonce), `p` (prev), `c` (bytes appended before it) and `e` (the event), in this order. A later version may add
 * fields after them. The head is `<id> <bytes ever appended> <bytes known to be trimmed> <server> <the last id from
 * before that server>`, and may have more after that. Scripts never parse the bodies.
 *
 * Threat: anybody may have changed these keys. Foreign data never makes a script fail. If a head cannot be read, or a
 * log accepts no event any more, the log begins anew, and its listeners are told that events were lost. An entry that
 * cannot be read is returned as such.
 */
import { createHash } from 'node:crypto'

export interface Script { readonly lua: string, readonly sha: string }

export function script (lua: string): Script {
  return { lua, sha: createHash('sha1').update(lua).digest('hex') }
}

/** A value of another type counts as absent; so does a head that cannot be read. */
export const HEAD_OF = `
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

/** Returns nonce, prev, bytes before it and body of an entry's fields. It ignores fields that others added. */
export const PARTS = `
local function parts (fields)
  if fields[1] ~= 'n' or fields[3] ~= 'p' or fields[5] ~= 'c' or fields[7] ~= 'e' then return nil end
  return fields[2], fields[4], fields[6], fields[8]
end
`

export const BEGIN_ANEW = `
local function begin (log, head, nonce, ttl)
  local id = '0-0.' .. nonce .. 'g'
  redis.call('DEL', log)
  redis.call('SET', head, id .. ' 0 0', 'PX', ttl)
  return id
end
`

/**
 * The state of a keyed topic is a hash: for each key `<id> <body>` of its newest event, and under the empty name `<id
 * of the head> <bytes of all events in it>`. State and log belong together. If they name different heads, one of them
 * was lost, and both begin anew. A genesis needs no state.
 *
 * `stateBytes` is nil if the state does not belong to this head.
 */
export const STATE_OF = `
local function stateBytes (state, head)
  local value = redis.pcall('HGET', state, '')
  local id, bytes = string.match(type(value) == 'string' and value or '', '^(%S+) (%d+)$')
  if id == head and #bytes < 16 then return bytes end
  if redis.pcall('EXISTS', state) == 0 and string.match(head, '^0%-0%.') then return '0' end
end
`
