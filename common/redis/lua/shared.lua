-- What the functions share. The files of this folder are one library, this one first.
--
-- A conversation's KEYS, in this order, wherever a function changes one:
--   1 events  2 header  3 pending  4 messages  5 rebuild
--   6 user's conversations  7 user's summaries  8 user's pending  9 user's rebuild
-- The first ARGV of such a function, in this order:
--   1 user  2 conversation  3 now (ms)  4 cache TTL (ms)  5 length of a message list  6 of a user's list
-- Titles, models, metadata, previews and creation times are JSON literals ("text", null, {…}) throughout,
-- so that nothing here has to encode anything.

-- On a cluster the last of KEYS, behind all others, is the guard `…}:-`, which never exists. While a slot moves
-- key by key, Redis refuses a call of which a key is not there (TRYAGAIN), so it refuses every function before
-- it has begun: what one reaches beside its KEYS may have moved already, and it would end half-way.
local function unguarded(callback)
  return function(keys, args)
    if string.sub(keys[#keys], -3) == '}:-' then
      keys[#keys] = nil
    end
    return callback(keys, args)
  end
end

local function register_function(function_, callback)
  if callback then
    redis.register_function(function_, unguarded(callback))
  else
    function_.callback = unguarded(function_.callback)
    redis.register_function(function_)
  end
end

local FIELDS = {
  'title', 'model', 'metadata', 'created', 'modified', 'next', 'count', 'preview',
  'version', 'epoch', 'deleted', 'ids_from',
}
-- The member that keeps a user's list from being empty. Its score is the floor: the conversations with a
-- higher score are in the list, all of them, and no others; 0 means that the list is whole. So it has rank
-- 0, and it only ever rises.
local FLOOR = '-'
-- How far a user's list may grow over its length before it is cut back.
local SLACK = 50

-- In a header, besides FIELDS: a record `number digest position` for each message id that it knows (`#id`), where
-- this digest says that the message was deleted; and `after:below` for each stretch of numbers that was cut off.
local REMOVED, CUTS = 'x', 'cuts'

local function int(number)
  return string.format('%.0f', number)
end

-- Whether position a stands before position b.
local function before(a, b)
  local am, ac = string.match(a, '^(%d+)-?(%d*)$')
  local bm, bc = string.match(b, '^(%d+)-?(%d*)$')
  am, bm, ac, bc = tonumber(am), tonumber(bm), tonumber(ac) or 0, tonumber(bc) or 0
  return am < bm or (am == bm and ac < bc)
end

-- The last position that a log gave out; 0-0 where there is none.
local function last_position(events)
  local facts = redis.pcall('XINFO', 'STREAM', events)
  for i = 1, #facts, 2 do
    if facts[i] == 'last-generated-id' then
      return facts[i + 1]
    end
  end
  return '0-0'
end

local function keys_of(keys)
  return {
    events = keys[1], header = keys[2], pending = keys[3], messages = keys[4], rebuild = keys[5],
    conversations = keys[6], summaries = keys[7], user_pending = keys[8], user_rebuild = keys[9],
  }
end

local function call_of(args)
  return {
    user = args[1], conversation = args[2], now = tonumber(args[3]), ttl = args[4],
    list_max = tonumber(args[5]), user_list_max = tonumber(args[6]),
  }
end

local function header_from(values)
  if not values[9] then
    return nil
  end
  return {
    title = values[1], model = values[2], metadata = values[3], created = values[4],
    modified = tonumber(values[5]), next = tonumber(values[6]), count = tonumber(values[7]),
    preview = values[8], version = tonumber(values[9]), epoch = tonumber(values[10]),
    deleted = values[11] == '1', ids_from = tonumber(values[12]),
  }
end

local function read_header(key)
  return header_from(redis.call('HMGET', key, unpack(FIELDS)))
end

-- The header of a conversation that is there; else nil, and the reply that says why.
local function living_header(key)
  local h = read_header(key)
  if not h then
    return nil, { 'cold' }
  end
  if h.deleted then
    return nil, { 'missing' }
  end
  return h
end

-- The fields in the order of FIELDS, as a reply.
local function header_reply(h)
  return {
    h.title, h.model, h.metadata, h.created, int(h.modified), int(h.next), int(h.count), h.preview,
    int(h.version), int(h.epoch), h.deleted and '1' or '0', int(h.ids_from),
  }
end

local function new_header(title, model, metadata, created, now)
  return {
    title = title, model = model, metadata = metadata, created = created, modified = now,
    next = 0, count = 0, preview = 'null', version = 0, epoch = 1, deleted = false, ids_from = 0,
  }
end

local function write_header(key, h)
  local pairs_ = {}
  for i, value in ipairs(header_reply(h)) do
    pairs_[2 * i - 1] = FIELDS[i]
    pairs_[2 * i] = value
  end
  redis.call('HSET', key, unpack(pairs_))
end

local function state_json(h)
  return '{"title":' .. h.title .. ',"model":' .. h.model .. ',"created_at":' .. h.created
    .. ',"metadata":' .. h.metadata .. '}'
end

-- A row of the conversation list, less its `last_modified` (the score) and the closing brace.
local function summary_json(conversation, h)
  return '{"conversation_id":"' .. conversation .. '","title":' .. h.title .. ',"model":' .. h.model
    .. ',"created_at":' .. h.created .. ',"message_count":' .. int(h.count) .. ',"preview":' .. h.preview
end

local function served(sequence, body)
  return '{"sequence_number":' .. int(sequence) .. ',' .. string.sub(body, 2)
end

-- One more change to a conversation: its clock goes up.
local function advance(h, now)
  h.version = h.version + 1
  if now > h.modified then
    h.modified = now
  end
end

-- A key of a partition that lies beside its stream.
local function beside(events, name)
  return string.sub(events, 1, -7) .. name
end

-- Bytes that came in are counted by the time of their position, in buckets of so long.
local BUCKET_MS = 5000

local function volume_bucket(position)
  return math.floor(tonumber(string.match(position, '^%d+')) / BUCKET_MS)
end

-- An event of more bytes is large: pages in which one may be are counted in bytes (reading.lua).
local LARGE_BYTES = 32 * 1024

-- Say that a large event stands at `position`; the last one is enough for a reader that comes from below.
local function mark_large(events, position, size)
  if size > LARGE_BYTES then
    redis.call('HSET', beside(events, 'log'), 'large', position)
  end
end

local function count_volume(events, position, fields)
  local size = 0
  for _, field in ipairs(fields) do
    size = size + #field
  end
  mark_large(events, position, size)
  redis.call('HINCRBY', beside(events, 'volume'), int(volume_bucket(position)), int(size))
end

-- XADD the event, which acknowledges it, and remember it as pending. What is pending keeps its header.
local function publish(k, c, h, kind, fields)
  local position = redis.call('XADD', k.events, '*', 'v', '1', 'type', kind, 'user', c.user,
    'conversation', c.conversation, 'version', int(h.version), 'epoch', int(h.epoch), 'at', int(c.now),
    unpack(fields))
  count_volume(k.events, position, fields)
  if redis.call('RPUSH', k.pending, position) == 1 then
    redis.call('PERSIST', k.header)
    redis.call('SADD', k.user_pending, c.conversation)
  end
  return position
end

-- Cut a user's list back to its length, raising the floor to the newest of what is cut.
local function cut_user_list(k, max)
  local excess = redis.call('ZCARD', k.conversations) - 1 - max
  if excess < SLACK then
    return
  end
  local floor = redis.call('ZRANGE', k.conversations, excess, excess, 'WITHSCORES')[2]
  -- With those of the same time, which would otherwise stand on both sides of the floor.
  for _, conversation in ipairs(redis.call('ZRANGEBYSCORE', k.conversations, '-inf', floor)) do
    redis.call('HDEL', k.summaries, conversation)
  end
  redis.call('ZREMRANGEBYSCORE', k.conversations, '-inf', floor)
  redis.call('ZADD', k.conversations, floor, FLOOR)
end

-- Put a conversation's row into a user's list, if it belongs above the floor.
local function put_row(conversations, summaries, floor, conversation, h)
  if h.deleted or h.modified <= tonumber(floor) then
    redis.call('ZREM', conversations, conversation)
    redis.call('HDEL', summaries, conversation)
    return
  end
  redis.call('ZADD', conversations, int(h.modified), conversation)
  redis.call('HSET', summaries, conversation, summary_json(conversation, h))
end

-- Show a change in the user's cached list, only if that list is there, and tell a rebuild of it.
local function show_in_user_list(k, c, h)
  redis.call('RPUSHX', k.user_rebuild, c.conversation)
  local floor = redis.call('ZSCORE', k.conversations, FLOOR)
  if not floor then
    return
  end
  put_row(k.conversations, k.summaries, floor, c.conversation, h)
  cut_user_list(k, c.user_list_max)
  redis.call('PEXPIRE', k.conversations, c.ttl)
  redis.call('PEXPIRE', k.summaries, c.ttl)
end

-- Begin a conversation that is in neither store: the caller knows, because the id is fresh, or because
-- it has looked in PostgreSQL under a rebuild's token, which anything that happened since has taken away.
local function may_create(k, token)
  return token == 'fresh' or (token ~= '' and redis.call('LINDEX', k.rebuild, 0) == token)
end

local function create(k, c, title, model, metadata, created)
  local h = new_header(title, model, metadata, created, c.now)
  advance(h, c.now)
  redis.call('DEL', k.rebuild)
  write_header(k.header, h)
  publish(k, c, h, 'conversation.created', { 'state', state_json(h) })
  return h
end

-- The answer that an idempotency key had before; stored as: digest, position or -, sequence numbers.
local function remembered(key, digest)
  local seen = key and redis.call('GET', key)
  if not seen then
    return nil
  end
  local words = {}
  for word in string.gmatch(seen, '%S+') do
    words[#words + 1] = word
  end
  if words[1] ~= digest then
    return { 'key_conflict' }
  end
  local position = words[2] == '-' and '' or words[2]
  return { 'ok', position, #words - 2, unpack(words, 3) }
end

local function remember(key, digest, position, numbers, ttl)
  local record = digest .. ' ' .. (position == '' and '-' or position) .. ' ' .. table.concat(numbers, ' ')
  redis.call('SET', key, record, 'PX', ttl)
end

local function renew(key, ttl)
  -- Only when half of it is gone: every renewal is a write, and a write is an fsync.
  local left = redis.call('PTTL', key)
  if left >= 0 and left < tonumber(ttl) / 2 then
    redis.call('PEXPIRE', key, ttl)
  end
end
