-- Load a conversation from PostgreSQL into Redis: begin, read PostgreSQL, install.
--
-- `begin` leaves a token at the head of the rebuild list, which is at once a lock (others wait for it)
-- and a journal: every append since adds its message behind the token, and a delete or a create takes
-- the whole away. `install` is a compare-and-set on the token, and takes the journal in, so a busy
-- conversation is rebuilt at the first try and a list never moves backwards.

-- The events pending for a conversation, oldest first, as {position, fields}; false where they are more than
-- `most` bytes.
local function pending_entries(k, most)
  local entries, size = {}, 0
  for _, position in ipairs(redis.call('LRANGE', k.pending, 0, -1)) do
    local found = redis.call('XRANGE', k.events, position, position)
    if found[1] then
      entries[#entries + 1] = found[1]
      for _, word in ipairs(most and found[1][2] or {}) do
        size = size + #word
      end
      if most and size > most then
        return false
      end
    end
  end
  return entries
end

-- Begin to load.
-- KEYS 1 events  2 header  3 pending  4 messages  5 rebuild
-- ARGV 1 token  2 lease (ms)  3 '1' = take over a load that is under way
-- Replies {status, header fields or {}, pending entries}
--   'ready' nothing to load  'deleted'  'building' somebody else is at it  'started' with our token
local function load_begin(keys, args)
  local k = keys_of(keys)
  local h = read_header(k.header)
  if h and h.deleted then
    return { 'deleted', {}, {} }
  end
  if h and (h.count == 0 or redis.call('EXISTS', k.messages) == 1) then
    return { 'ready', header_reply(h), {} }
  end
  if args[3] ~= '1' and redis.call('EXISTS', k.rebuild) == 1 then
    return { 'building', {}, {} }
  end
  redis.call('DEL', k.rebuild)
  redis.call('RPUSH', k.rebuild, args[1])
  redis.call('PEXPIRE', k.rebuild, args[2])
  return { 'started', h and header_reply(h) or {}, pending_entries(k) }
end

-- Install what was loaded.
-- KEYS 1 events  2 header  3 pending  4 messages  5 rebuild
-- ARGV 1 token  2 cache TTL (ms)  3 length of a message list  4-15 the header's fields, in the order of
--   FIELDS, for where Redis has none  16 '1' = Redis had a header when the load began  17 number of
--   message ids that are pending, then those, each as field and value  then the messages, oldest first
-- Replies 'ok' | 'conflict': the token is gone, or the header that was there is, begin again
local function load_install(keys, args)
  local k = keys_of(keys)
  if redis.call('LINDEX', k.rebuild, 0) ~= args[1] then
    return 'conflict'
  end
  local ids = tonumber(args[17])
  local first = 18 + 2 * ids
  if redis.call('EXISTS', k.header) == 0 then
    if args[16] == '1' then
      -- It went since, and what it went through before that is in no journal: a change of the title, or
      -- numbers that were given. What the caller has of it may be older.
      redis.call('DEL', k.rebuild)
      return 'conflict'
    end
    for i, field in ipairs(FIELDS) do
      redis.call('HSET', k.header, field, args[3 + i])
    end
    for i = 18, first - 1, 2 do
      redis.call('HSET', k.header, args[i], args[i + 1])
    end
    if redis.call('EXISTS', k.pending) == 0 then
      redis.call('PEXPIRE', k.header, args[2])
    end
  end
  local since = redis.call('LRANGE', k.rebuild, 1, -1)
  redis.call('DEL', k.messages, k.rebuild)
  for i = first, #args do
    redis.call('RPUSH', k.messages, args[i])
  end
  for _, message in ipairs(since) do
    redis.call('RPUSH', k.messages, message)
  end
  redis.call('LTRIM', k.messages, -tonumber(args[3]), -1)
  redis.call('PEXPIRE', k.messages, args[2])
  return 'ok'
end

-- What a reader who bypasses the cache must lay over PostgreSQL's answer; to be called before it.
-- KEYS 1 events  2 header  3 pending
-- ARGV 1 bytes of pending entries that the caller takes, or ''
-- Replies {header fields or {}, pending entries or nil where they are more}
local function peek(keys, args)
  local k = keys_of(keys)
  local h = read_header(k.header)
  return { h and header_reply(h) or {}, pending_entries(k, tonumber(args[1])) }
end

-- Give a begun load up, of a conversation or of a user's list, so that nobody waits for it.
-- KEYS 1 rebuild
-- ARGV 1 token
-- Replies 1 | 0 the token was gone
local function abandon(keys, args)
  if redis.call('LINDEX', keys[1], 0) ~= args[1] then
    return 0
  end
  return redis.call('DEL', keys[1])
end

register_function('turnlog_load_begin', load_begin)
register_function('turnlog_load_install', load_install)
register_function({ function_name = 'turnlog_abandon', callback = abandon, flags = { 'allow-oom' } })
register_function({ function_name = 'turnlog_peek', callback = peek, flags = { 'no-writes' } })
