-- The consumer group of the persisters: what they tell Redis once PostgreSQL has committed, or once they
-- have given an event up, and the trimming that follows. All of it frees memory in the end, so full memory
-- stops none of it.

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

-- Take a position off a conversation's pending list; with the last one, cache lifetimes begin.
local function settle(header, pending, user_pending, conversation, position, ttl, max_ids)
  redis.call('LREM', pending, 1, position)
  if redis.call('EXISTS', pending) == 1 then
    return
  end
  redis.call('SREM', user_pending, conversation)
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

-- Committed: acknowledge, and settle each event's conversation.
-- KEYS 1 events, then three for each event of a conversation: header, pending, user's pending
-- ARGV 1 consumer group  2 cache TTL (ms)  3 most ids kept in a header  4 number of positions,
--   then those  then two for each event of a conversation: conversation, position
-- Replies the number of entries acknowledged
local function committed(keys, args)
  local n = tonumber(args[4])
  local acknowledged = 0
  for i = 5, 4 + n do
    acknowledged = acknowledged + redis.call('XACK', keys[1], args[1], args[i])
  end
  local argument = 5 + n
  for i = 2, #keys, 3 do
    settle(keys[i], keys[i + 1], keys[i + 2], args[argument], args[argument + 1], args[2], args[3])
    argument = argument + 2
  end
  return acknowledged
end

-- Parked: the entry goes to the dead letters with its error, and is acknowledged. The caches that show it
-- go, so that readers see what the record has.
-- KEYS 1 events  2 dead  then, for an event of a conversation: header, pending, user's pending, messages,
--   rebuild, user's conversations
-- ARGV 1 consumer group  2 position  3 error  4 cache TTL (ms)  5 most ids kept in a header  6 conversation
--   or ''  then the entry's fields and values
-- Replies the position among the dead letters, or false if the entry was settled already
local function park(keys, args)
  if redis.call('XACK', keys[1], args[1], args[2]) == 0 then
    return false
  end
  local entry = {}
  for i = 7, #args do
    entry[#entry + 1] = args[i]
  end
  local position = redis.call('XADD', keys[2], '*', 'dead_position', args[2], 'dead_error', args[3], unpack(entry))
  if keys[3] then
    settle(keys[3], keys[4], keys[5], args[6], args[2], args[4], args[5])
    redis.call('UNLINK', keys[6], keys[7], keys[8])
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
  if before(args[2], floor) then
    floor = args[2]
  end
  return redis.call('XTRIM', keys[1], 'MINID', '~', floor)
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

redis.register_function({ function_name = 'turnlog_create_group', callback = create_group, flags = { 'allow-oom' } })
redis.register_function({ function_name = 'turnlog_committed', callback = committed, flags = { 'allow-oom' } })
redis.register_function({ function_name = 'turnlog_park', callback = park, flags = { 'allow-oom' } })
redis.register_function({
  function_name = 'turnlog_forget_consumers', callback = forget_consumers, flags = { 'allow-oom' },
})
redis.register_function({ function_name = 'turnlog_trim', callback = trim, flags = { 'allow-oom' } })
