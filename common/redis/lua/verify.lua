-- What `turnlog verify` looks at, each look at one moment, and the mending that needs one.
--
-- A position on a conversation's pending list is in one of these states:
--   'waiting' no consumer has had it   'held' a consumer has it and has not settled it
--   'settled' acknowledged             'gone' no longer on the log

-- The consumer group's last delivered position; nil where there is no group.
local function delivered_to(events, group)
  if redis.call('EXISTS', events) == 0 then
    return nil
  end
  for _, flat in ipairs(redis.call('XINFO', 'GROUPS', events)) do
    local fields = {}
    for i = 1, #flat, 2 do
      fields[flat[i]] = flat[i + 1]
    end
    if fields['name'] == group then
      return fields['last-delivered-id']
    end
  end
  return nil
end

-- The state of a position and the entry's fields and values.
local function entry_state(events, group, delivered, position)
  local found = redis.call('XRANGE', events, position, position)
  if not found[1] then
    return 'gone', {}
  end
  if not delivered or before(delivered, position) then
    return 'waiting', found[1][2]
  end
  local held = redis.call('XPENDING', events, group, position, position, 1)
  return held[1] and 'held' or 'settled', found[1][2]
end

-- Everything of one conversation.
-- KEYS 1-9 as in shared.lua
-- ARGV 1 consumer group  2 conversation
-- Replies {header fields in the order of FIELDS, false where one is absent, or {}; the header's PTTL;
--   1 = in the user's pending set; the cached list; message ids, each as field and value;
--   {{position, state, {field, value, …}}, …} of the pending list; 1 = the header is known to be stale}
local function verify_look(keys, args)
  local k = keys_of(keys)
  local fields, ids = {}, {}
  local lifetime = redis.call('PTTL', k.header)
  if lifetime ~= -2 then
    fields = redis.call('HMGET', k.header, unpack(FIELDS))
    local all = redis.call('HGETALL', k.header)
    for i = 1, #all, 2 do
      if string.sub(all[i], 1, 1) == '#' then
        ids[#ids + 1] = all[i]
        ids[#ids + 1] = all[i + 1]
      end
    end
  end
  local delivered, waiting = delivered_to(k.events, args[1]), {}
  for _, position in ipairs(redis.call('LRANGE', k.pending, 0, -1)) do
    local state, entry = entry_state(k.events, args[1], delivered, position)
    waiting[#waiting + 1] = { position, state, entry }
  end
  return {
    fields, lifetime, redis.call('SISMEMBER', k.user_pending, args[2]),
    redis.call('LRANGE', k.messages, 0, -1), ids, waiting, redis.call('HEXISTS', k.header, STALE),
  }
end

-- Take positions off a pending list that are settled or gone, as they are at this moment, then let what
-- hangs on the list follow from it: the user's pending set and the header's lifetime.
-- KEYS 1-9 as in shared.lua
-- ARGV 1 consumer group  2 conversation  3 cache TTL (ms)  then the positions
-- Replies how many were taken off
local function verify_settle(keys, args)
  local k, removed = keys_of(keys), 0
  local delivered = delivered_to(k.events, args[1])
  for i = 4, #args do
    local state = entry_state(k.events, args[1], delivered, args[i])
    if state == 'gone' or state == 'settled' then
      removed = removed + redis.call('LREM', k.pending, 0, args[i])
    end
  end
  if redis.call('EXISTS', k.pending) == 1 then
    redis.call('SADD', k.user_pending, args[2])
    redis.call('PERSIST', k.header)
  else
    redis.call('SREM', k.user_pending, args[2])
    if redis.call('PTTL', k.header) == -1 then
      redis.call('PEXPIRE', k.header, args[3])
    end
  end
  return removed
end

-- Put a header right, if no event has happened to the conversation since it was looked at. Its counters
-- only ever go up. The caches that were made with it go, and a load that has read it begins again.
-- KEYS 1-9 as in shared.lua
-- ARGV 1-3 version, epoch and next as they were looked at ('' = absent)  4 cache TTL (ms)
--   5-16 the header's fields, in the order of FIELDS
-- Replies 'ok' | 'moved'
local function verify_header(keys, args)
  local k = keys_of(keys)
  local now = redis.call('HMGET', k.header, 'version', 'epoch', 'next', 'ids_from')
  for i = 1, 3 do
    if (now[i] or '') ~= args[i] then
      return 'moved'
    end
  end
  local values = {}
  for i, field in ipairs(FIELDS) do
    values[field] = args[4 + i]
  end
  for i, field in ipairs({ 'version', 'epoch', 'next' }) do
    local counter = tonumber(now[i] or '')
    if counter and counter > tonumber(values[field]) then
      values[field] = int(counter)
    end
  end
  -- The ids that the header has stay, and with them the number below which it may lack some.
  values['ids_from'] = now[4] or values['next']
  if values['deleted'] == '1' then
    redis.call('UNLINK', k.header)
  end
  for _, field in ipairs(FIELDS) do
    redis.call('HSET', k.header, field, values[field])
  end
  if redis.call('EXISTS', k.pending) == 1 then
    redis.call('PERSIST', k.header)
  else
    redis.call('PEXPIRE', k.header, args[4])
  end
  redis.call('UNLINK', k.messages, k.rebuild, k.conversations, k.summaries, k.user_rebuild)
  return 'ok'
end

-- Put message ids of a header right, each only where it is still as it was looked at.
-- KEYS 1 header
-- ARGV three for each: field, the value looked at ('' = absent), the value to be ('' = none)
-- Replies how many were
local function verify_ids(keys, args)
  local mended = 0
  if redis.call('EXISTS', keys[1]) == 0 then
    return 0
  end
  for i = 1, #args, 3 do
    if (redis.call('HGET', keys[1], args[i]) or '') == args[i + 1] then
      mended = mended + 1
      if args[i + 2] == '' then
        redis.call('HDEL', keys[1], args[i])
      else
        redis.call('HSET', keys[1], args[i], args[i + 2])
      end
    end
  end
  return mended
end

-- Everything of one user's list.
-- KEYS 1 conversations  2 summaries  3 pending
-- ARGV 1 the user's base key
-- Replies {{member, score, …}, {conversation, summary, …}, {{conversation, header fields}, …} of those with
--   anything pending, {member of the pending set that has no pending list, …}}
local function verify_look_user(keys, args)
  local orphans = {}
  for _, conversation in ipairs(redis.call('SMEMBERS', keys[3])) do
    if redis.call('EXISTS', args[1] .. ':' .. conversation .. ':pending') == 0 then
      orphans[#orphans + 1] = conversation
    end
  end
  return {
    redis.call('ZRANGE', keys[1], 0, -1, 'WITHSCORES'), redis.call('HGETALL', keys[2]),
    pending_headers(args[1], keys[3]), orphans,
  }
end

-- Take conversations out of a user's pending set that have nothing pending at this moment.
-- KEYS 1 pending
-- ARGV 1 the user's base key  then the conversations
-- Replies how many
local function verify_user_pending(keys, args)
  local removed = 0
  for i = 2, #args do
    if redis.call('EXISTS', args[1] .. ':' .. args[i] .. ':pending') == 0 then
      removed = removed + redis.call('SREM', keys[1], args[i])
    end
  end
  return removed
end

-- A page of what the consumer group has had.
-- KEYS 1 events
-- ARGV 1 consumer group  2 after this position  3 how many
-- Replies {'1' = there is more, {{position, {field, value, …}, '1' = held}, …}, the shortest silence of a
--   consumer in ms or ''}
local function verify_log(keys, args)
  local delivered = delivered_to(keys[1], args[1])
  if not delivered or not before(args[2], delivered) then
    return { '0', {}, '' }
  end
  local found = redis.call('XRANGE', keys[1], '(' .. args[2], delivered, 'COUNT', args[3])
  local page, held = {}, {}
  if found[1] then
    local waiting = redis.call('XPENDING', keys[1], args[1], found[1][1], found[#found][1], args[3])
    for _, entry in ipairs(waiting) do
      held[entry[1]] = true
    end
  end
  for i, entry in ipairs(found) do
    page[i] = { entry[1], entry[2], held[entry[1]] and '1' or '0' }
  end
  local silence = ''
  for _, flat in ipairs(redis.call('XINFO', 'CONSUMERS', keys[1], args[1])) do
    for i = 1, #flat, 2 do
      if flat[i] == 'idle' and (silence == '' or flat[i + 1] < silence) then
        silence = flat[i + 1]
      end
    end
  end
  return { #found == tonumber(args[3]) and '1' or '0', page, silence == '' and '' or int(silence) }
end

register_function({ function_name = 'turnlog_verify_look', callback = verify_look, flags = { 'no-writes' } })
register_function({
  function_name = 'turnlog_verify_look_user', callback = verify_look_user, flags = { 'no-writes' },
})
register_function({ function_name = 'turnlog_verify_log', callback = verify_log, flags = { 'no-writes' } })
register_function({ function_name = 'turnlog_verify_settle', callback = verify_settle, flags = { 'allow-oom' } })
register_function({ function_name = 'turnlog_verify_header', callback = verify_header, flags = { 'allow-oom' } })
register_function({ function_name = 'turnlog_verify_ids', callback = verify_ids, flags = { 'allow-oom' } })
register_function({
  function_name = 'turnlog_verify_user_pending', callback = verify_user_pending, flags = { 'allow-oom' },
})
