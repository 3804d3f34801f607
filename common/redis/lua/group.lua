-- The consumer group of the persisters: what they tell Redis once PostgreSQL has committed, or once they
-- have given an event up, and the trimming that follows. All of it frees memory in the end, so full memory
-- stops none of it.

-- In a header: it does not agree with the record. A deleted one that is marked has no gravestone in
-- PostgreSQL, so it stays until it has.
local STALE = 'stale'
-- In a partition's log hash: everything below was settled, and may be trimmed.
local TRIMMED = 'trimmed_below'
-- What Lua can hand to a command at once is limited; a letter with more words is kept as one.
local MAX_WORDS = 7000

-- Create the consumer group at the log's first entry, whatever came before it.
-- KEYS 1 events
-- ARGV 1 consumer group
-- Replies 1 | 0 it was there
local function create_group(keys, args)
  local reply = redis.pcall('XGROUP', 'CREATE', keys[1], args[1], '0', 'MKSTREAM')
  if reply.err then
    if string.find(reply.err, 'BUSYGROUP') then
      return 0
    end
    return reply
  end
  return 1
end

-- Take a position off a conversation's pending list; with the last one, cache lifetimes begin. A header that
-- an event was taken from (see park), or put back to (see requeue), does not stay: the record knows better.
local function settle(header, pending, user_pending, conversation, position, ttl, max_ids)
  redis.call('LREM', pending, 1, position)
  if redis.call('EXISTS', pending) == 1 then
    return
  end
  redis.call('SREM', user_pending, conversation)
  if redis.call('HEXISTS', header, STALE) == 1 then
    if redis.call('HGET', header, 'deleted') ~= '1' then
      redis.call('UNLINK', header)
    end
    return
  end
  redis.call('PEXPIRE', header, ttl)
  -- The ids of a very long conversation: PostgreSQL knows them all now, so an append can ask there.
  if redis.call('HLEN', header) > tonumber(max_ids) then
    local h = read_header(header)
    if h then
      h.ids_from = h.next
      redis.call('UNLINK', header)
      write_header(header, h)
      redis.call('PEXPIRE', header, ttl)
    end
  end
end

-- What Redis shows of a conversation is not what the record has: load it anew.
local function forget_conversation(header, user_pending)
  local base = string.sub(user_pending, 1, -1 - #':pending')
  redis.call('UNLINK', header, header .. ':messages', header .. ':rebuild', base .. ':conversations',
    base .. ':summaries', base .. ':rebuild')
end

-- Whether an entry that PostgreSQL has, and the group does not know, is not on the log: Redis came back older
-- while it was on its way from one to the other. Its position is not given again. (One that somebody else has
-- settled and that is trimmed since is not there either: it stood below what was trimmed.)
local function was_lost(events, group, position)
  if redis.call('XRANGE', events, position, position)[1] then
    return false
  end
  local trimmed = redis.call('HGET', beside(events, 'log'), TRIMMED)
  if trimmed and before(position, trimmed) then
    return false
  end
  if before(last_position(events), position) then
    create_group({ events }, { group })
    redis.call('XSETID', events, position)
  end
  return true
end

-- Committed: acknowledge, and settle each event's conversation.
-- KEYS 1 events, then three for each event of a conversation: header, pending, user's pending
-- ARGV 1 consumer group  2 cache TTL (ms)  3 most ids kept in a header  4 number of positions,
--   then those  then three for each event of a conversation: conversation, position, '1' = a message stands
--   at another number than its event says
-- Replies the number of entries acknowledged
local function committed(keys, args)
  local n = tonumber(args[4])
  local acknowledged, unknown = 0, {}
  for i = 5, 4 + n do
    local known = redis.call('XACK', keys[1], args[1], args[i])
    acknowledged = acknowledged + known
    unknown[args[i]] = known == 0
  end
  local argument = 5 + n
  for i = 2, #keys, 3 do
    settle(keys[i], keys[i + 1], keys[i + 2], args[argument], args[argument + 1], args[2], args[3])
    local position = args[argument + 1]
    if args[argument + 2] == '1' or (unknown[position] and was_lost(keys[1], args[1], position)) then
      forget_conversation(keys[i], keys[i + 2])
    end
    argument = argument + 3
  end
  return acknowledged
end

-- Correct a conversation's header by `messages` more (or fewer), and have it loaded anew when nothing is
-- pending any more. Its lists go, so that readers see what is true now.
-- k 1 header  2 pending  3 user's pending  4 messages  5 rebuild  6 user's conversations  7 user's rebuild
local function amend(k, messages)
  local h = read_header(k[1])
  if h and not h.deleted then
    redis.call('HSET', k[1], 'count', int(math.max(0, h.count + messages)), STALE, '1')
  end
  redis.call('UNLINK', k[4], k[5], k[6], k[7])
  return h
end

-- Parked: the entry goes to the dead letters, byte for byte, behind fields that say why, and is
-- acknowledged. The caches that show it go, so that readers see what the record has.
-- KEYS 1 events  2 dead  then, for an event of a conversation: header, pending, user's pending, messages,
--   rebuild, user's conversations, user's rebuild
-- ARGV 1 consumer group  2 position  3 cache TTL (ms)  4 most ids kept in a header  5 conversation or ''
--   6 what becomes of the header: '' nothing, else how many messages fewer it has, or 'deleted': it is a
--     tombstone that has to stay  7 number of words that say why, then those
--   then the entry's fields and values, as they were read
-- Replies the position among the dead letters, or false if the entry was settled already
local function park(keys, args)
  if redis.call('XACK', keys[1], args[1], args[2]) == 0 then
    return false
  end
  local first = 8 + tonumber(args[7])
  local letter = { unpack(args, 8, first - 1) }
  -- As it stands on the log: a client may have lost a field that is there twice.
  local found = redis.call('XRANGE', keys[1], args[2], args[2])[1]
  local event = found and found[2] or args
  local words, from = #event, found and 1 or first
  if words > MAX_WORDS then
    local packed = {}
    for i = from, words do
      packed[#packed + 1] = #event[i] .. ':' .. event[i]
    end
    letter[#letter + 1] = 'dead_packed'
    letter[#letter + 1] = table.concat(packed)
  else
    for i = from, words do
      letter[#letter + 1] = event[i]
    end
  end
  local position = redis.call('XADD', keys[2], '*', unpack(letter))
  if keys[3] then
    local k = { unpack(keys, 3) }
    if args[6] == 'deleted' then
      if redis.call('HGET', k[1], 'deleted') == '1' then
        redis.call('HSET', k[1], STALE, '1')
      end
    elseif args[6] ~= '' then
      amend(k, -tonumber(args[6]))
    else
      redis.call('UNLINK', k[4], k[5], k[6], k[7])
    end
    settle(k[1], k[2], k[3], args[5], args[2], args[3], args[4])
  end
  return position
end

-- The letter is gone from its place: the entry that it was made of, while it is still on the log, is told of
-- elsewhere or not at all, and must not be taken for one that was lost on its way. By time, for `trim`.
local function void(events, words)
  local original = words[1] == 'dead_position' and words[2] or ''
  if string.match(original, '^%d+%-%d+$') and redis.call('XRANGE', events, original, original)[1] then
    redis.call('ZADD', beside(events, 'void'), string.match(original, '^%d+'), original)
  end
end

-- Drop a dead letter, for ever. A deletion that is dropped never happened: its tombstone goes.
-- KEYS 1 events  2 dead  then, for a deletion: header, pending, user's pending of its conversation
-- ARGV 1 its position among the dead letters
-- Replies 1 | 0 it was gone
local function drop_letter(keys, args)
  local found = redis.call('XRANGE', keys[2], args[1], args[1])[1]
  if not found then
    return 0
  end
  void(keys[1], found[2])
  redis.call('XDEL', keys[2], args[1])
  if keys[3] and redis.call('HGET', keys[3], 'deleted') == '1' and redis.call('HEXISTS', keys[3], STALE) == 1 then
    if redis.call('EXISTS', keys[4]) == 1 then
      -- What is pending needs its header; settled, it goes as one that is stale.
      redis.call('HSET', keys[3], 'deleted', '0')
    else
      forget_conversation(keys[3], keys[5])
    end
  end
  return 1
end

-- Put a dead letter back on the log, as it was, and take it off the dead letters.
-- KEYS 1 events  2 dead  then, for an event that can be read: those of its conversation, as for park
-- ARGV 1 its position among the dead letters  2 number of words before the event's own
--   3 conversation or ''  4 messages that it adds, or 'deleted'  5 its first number  6 its version
--   then two for each of these messages: id, number
-- Replies the position on the log, or false if the letter is gone
local function requeue(keys, args)
  local found = redis.call('XRANGE', keys[2], args[1], args[1])[1]
  if not found then
    return false
  end
  local position = redis.call('XADD', keys[1], '*', unpack(found[2], 1 + tonumber(args[2])))
  mark_large(keys[1], position, #table.concat(found[2]))
  void(keys[1], found[2])
  redis.call('XDEL', keys[2], args[1])
  if not keys[3] then
    return position
  end
  local k = { unpack(keys, 3) }
  redis.call('RPUSH', k[2], position)
  redis.call('SADD', k[3], args[3])
  redis.call('PERSIST', k[1])
  if args[4] == 'deleted' then
    redis.call('HDEL', k[1], STALE)
    return position
  end
  local h = amend(k, tonumber(args[4]))
  if not h or h.deleted then
    return position
  end
  local next_number = math.max(h.next, tonumber(args[5]) + tonumber(args[4]))
  redis.call('HSET', k[1], 'next', int(next_number), 'version', int(math.max(h.version, tonumber(args[6]))))
  for i = 7, #args, 2 do
    redis.call('HSET', k[1], '#' .. args[i], args[i + 1] .. ' - ' .. position)
  end
  return position
end

-- Trim the log below what the consumer group has settled and what is kept for replay.
-- KEYS 1 events
-- ARGV 1 consumer group  2 keep everything from this position on
-- Replies the number of entries removed
local function trim(keys, args)
  local floor
  for _, group in ipairs(redis.call('XINFO', 'GROUPS', keys[1])) do
    local fields = {}
    for i = 1, #group, 2 do
      fields[group[i]] = group[i + 1]
    end
    if fields['name'] == args[1] then
      floor = fields['last-delivered-id']
    end
  end
  if not floor then
    return 0
  end
  local waiting = redis.call('XPENDING', keys[1], args[1])
  if waiting[1] > 0 and before(waiting[2], floor) then
    floor = waiting[2]
  end
  -- Better no replay than no room for what comes.
  if before(args[2], floor) and not short_of_memory(keys[1]) then
    floor = args[2]
  end
  local trimmed = redis.call('XTRIM', keys[1], 'MINID', '~', floor)
  if trimmed > 0 then
    redis.call('HSET', beside(keys[1], 'log'), TRIMMED, floor)
  end
  local first = redis.call('XRANGE', keys[1], '-', '+', 'COUNT', 1)[1]
  local until_ms = first and '(' .. string.match(first[1], '^%d+') or '+inf'
  redis.call('ZREMRANGEBYSCORE', beside(keys[1], 'void'), '-inf', until_ms)
  return trimmed
end

-- Forget consumers that hold nothing and have been silent. One step, because a consumer that is deleted
-- takes what it holds with it.
-- KEYS 1 events
-- ARGV 1 consumer group  2 silence (ms)
-- Replies their names
local function forget_consumers(keys, args)
  local forgotten = {}
  for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', keys[1], args[1])) do
    local fields = {}
    for i = 1, #consumer, 2 do
      fields[consumer[i]] = consumer[i + 1]
    end
    if fields['pending'] == 0 and fields['idle'] >= tonumber(args[2]) then
      redis.call('XGROUP', 'DELCONSUMER', keys[1], args[1], fields['name'])
      forgotten[#forgotten + 1] = fields['name']
    end
  end
  return forgotten
end

register_function({ function_name = 'turnlog_create_group', callback = create_group, flags = { 'allow-oom' } })
register_function({ function_name = 'turnlog_committed', callback = committed, flags = { 'allow-oom' } })
register_function({ function_name = 'turnlog_park', callback = park, flags = { 'allow-oom' } })
register_function('turnlog_requeue', requeue)
register_function({
  function_name = 'turnlog_forget_consumers', callback = forget_consumers, flags = { 'allow-oom' },
})
register_function({ function_name = 'turnlog_drop_letter', callback = drop_letter, flags = { 'allow-oom' } })
register_function({ function_name = 'turnlog_trim', callback = trim, flags = { 'allow-oom' } })
