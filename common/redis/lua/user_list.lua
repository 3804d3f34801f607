-- A user's cached list of conversations: read a page, load it, and what is pending for it.

-- Every conversation of the user with anything pending, with its header; and those whose header was dropped
-- because it was not what the record has.
local function pending_headers(base, key)
  local found, headless = {}, {}
  for _, conversation in ipairs(redis.call('SMEMBERS', key)) do
    local h = read_header(base .. ':' .. conversation)
    if h then
      found[#found + 1] = { conversation, header_reply(h) }
    else
      headless[#headless + 1] = conversation
    end
  end
  return found, headless
end

-- Read a page, newest first.
-- KEYS 1 conversations  2 summaries
-- ARGV 1-2 score and id of the last row seen ('' = from the top)  3 rows to skip  4 rows wanted
--   5 lowest score wanted (0 = all)  6 cache TTL (ms)
-- Replies {'ok', total ('' with a cursor), id, score, summary, …} | {'absent'} nothing is cached |
--   {'beyond'} the page lies below the floor
local function list_read(keys, args)
  local floor = redis.call('ZSCORE', keys[1], FLOOR)
  if not floor then
    return { 'absent' }
  end
  floor = tonumber(floor)
  local skip, wanted, since = tonumber(args[3]), tonumber(args[4]), tonumber(args[5])
  local lowest = since > floor and int(since) or '(' .. int(floor)
  local rows, offset, total = {}, skip, ''
  local from = args[1] == '' and '+inf' or args[1]
  if args[1] == '' then
    total = redis.call('ZCOUNT', keys[1], lowest, '+inf')
    if floor > 0 and since <= floor then
      total = ''
    end
  end
  while #rows < wanted * 3 do
    local step = redis.call('ZREVRANGEBYSCORE', keys[1], from, lowest, 'WITHSCORES', 'LIMIT', offset, wanted)
    for i = 1, #step, 2 do
      -- Rows of one score stand in the order of their ids, downwards: skip those the caller has seen.
      local seen = args[1] ~= '' and step[i + 1] == args[1] and step[i] >= args[2]
      if not seen and #rows < wanted * 3 then
        local summary = redis.call('HGET', keys[2], step[i])
        if not summary then
          return { 'absent' }
        end
        rows[#rows + 1] = step[i]
        rows[#rows + 1] = step[i + 1]
        rows[#rows + 1] = summary
      end
    end
    offset = offset + #step / 2
    if #step < wanted * 2 then
      break
    end
  end
  if #rows < wanted * 3 and floor > 0 and since <= floor then
    return { 'beyond' }
  end
  renew(keys[1], args[6])
  renew(keys[2], args[6])
  return { 'ok', total, unpack(rows) }
end

-- Begin to load; see load.lua for the token.
-- KEYS 1 conversations  2 summaries  3 pending  4 rebuild
-- ARGV 1 token  2 lease (ms)  3 '1' = take over a load that is under way  4 the user's base key
-- Replies {status, {{conversation, header fields}, …}, {conversation without a header, …}}
--   'ready' | 'building' | 'started'
local function list_begin(keys, args)
  local rows = redis.call('ZCARD', keys[1]) - 1
  if rows >= 0 and rows == redis.call('HLEN', keys[2]) then
    return { 'ready', {}, {} }
  end
  if args[3] ~= '1' and redis.call('EXISTS', keys[4]) == 1 then
    return { 'building', {}, {} }
  end
  redis.call('DEL', keys[4])
  redis.call('RPUSH', keys[4], args[1])
  redis.call('PEXPIRE', keys[4], args[2])
  return { 'started', pending_headers(args[4], keys[3]) }  -- two values
end

-- Install what was loaded, with the conversations that changed since as they are now.
-- KEYS 1 conversations  2 summaries  3 rebuild
-- ARGV 1 token  2 cache TTL (ms)  3 floor  4 the user's base key, then three for each row: id, score, summary
-- Replies 'ok' | 'conflict': the token is gone or a changed conversation is, begin again
local function list_install(keys, args)
  if redis.call('LINDEX', keys[3], 0) ~= args[1] then
    return 'conflict'
  end
  local changed = {}
  for _, conversation in ipairs(redis.call('LRANGE', keys[3], 1, -1)) do
    changed[conversation] = read_header(args[4] .. ':' .. conversation)
    if not changed[conversation] then
      redis.call('DEL', keys[3])
      return 'conflict'
    end
  end
  redis.call('DEL', keys[1], keys[2], keys[3])
  redis.call('ZADD', keys[1], args[3], FLOOR)
  for i = 5, #args, 3 do
    if not changed[args[i]] then
      redis.call('ZADD', keys[1], args[i + 1], args[i])
      redis.call('HSET', keys[2], args[i], args[i + 2])
    end
  end
  for conversation, h in pairs(changed) do
    put_row(keys[1], keys[2], args[3], conversation, h)
  end
  redis.call('PEXPIRE', keys[1], args[2])
  redis.call('PEXPIRE', keys[2], args[2])
  return 'ok'
end

-- What a reader who bypasses the cache must lay over PostgreSQL's answer; to be called before it.
-- KEYS 1 pending
-- ARGV 1 the user's base key
-- Replies {{{conversation, header fields}, …}, {conversation without a header, …}}
local function list_peek(keys, args)
  return { pending_headers(args[1], keys[1]) }
end

register_function({ function_name = 'turnlog_list_read', callback = list_read, flags = { 'allow-oom' } })
register_function('turnlog_list_begin', list_begin)
register_function('turnlog_list_install', list_install)
register_function({ function_name = 'turnlog_list_peek', callback = list_peek, flags = { 'no-writes' } })
