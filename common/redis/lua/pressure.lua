-- Back-pressure: how far the persisters are behind in one partition, and when the log takes no more.
--
-- The log's hash holds the bounds (0 = none) and the last sample:
--   max_events  max_bytes  max_age (ms)  max_memory (bytes)  max_memory_percent (of maxmemory)
--   sampled_at (ms)  refuses ('' or what is over its bound)
-- The hash and the volume are found by the name of the stream beside which they lie, in the same slot: so no
-- caller has to know of them, and none can leave them out.

local PERSISTERS = 'persisters'
local BOUNDS = { 'max_events', 'max_bytes', 'max_age', 'max_memory', 'max_memory_percent' }
-- A sample is used for so long. What comes in meanwhile is what a bound may be overshot by.
local SAMPLE_MS = 250
-- Once over a bound, everything must be below this share of its bound before the log takes more.
local LOW = 0.8
-- What need not be on the log now keeps below this share of the bounds on the backlog: the rest is users'.
local SPARE = 0.5

local function clock()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

local function persisters_of(events)
  local groups = redis.pcall('XINFO', 'GROUPS', events)
  for _, flat in ipairs(groups.err and {} or groups) do
    local fields = {}
    for i = 1, #flat, 2 do
      fields[flat[i]] = flat[i + 1]
    end
    if fields['name'] == PERSISTERS then
      return fields
    end
  end
  return nil
end

-- What PostgreSQL does not have: how many events, and the position of the first of them or nil.
local function uncommitted(events)
  local group = persisters_of(events)
  local count, first, start = redis.call('XLEN', events), nil, '-'
  if group then
    local pending = redis.call('XPENDING', events, PERSISTERS)
    -- Redis does not always know the lag (false); what was read still counts, and so do age and bytes.
    count = pending[1] + (group['lag'] or 0)
    first, start = pending[2], '(' .. group['last-delivered-id']
  end
  if not first then
    local next_one = redis.call('XRANGE', events, start, '+', 'COUNT', 1)[1]
    first = next_one and next_one[1]
  end
  return first and math.max(count, 1) or 0, first or nil
end

-- Bytes that came since the first uncommitted position, and the buckets before it.
local function volume_since(volume, first)
  local from = first and volume_bucket(first)
  local bytes, over = 0, {}
  local flat = redis.call('HGETALL', volume)
  for i = 1, #flat, 2 do
    if from and tonumber(flat[i]) >= from then
      bytes = bytes + tonumber(flat[i + 1])
    else
      over[#over + 1] = flat[i]
    end
  end
  return bytes, over
end

-- Memory used, and the bound on it in bytes (0 = none). A share is of use only where full memory means
-- that nothing more is written; where caches are evicted, full memory is how it is meant to be.
local function memory(max, percent)
  local info = redis.call('INFO', 'memory')
  local used = tonumber(string.match(info, '\nused_memory:(%d+)'))
  local limit = tonumber(string.match(info, '\nmaxmemory:(%d+)') or 0)
  local keeps = string.match(info, '\nmaxmemory_policy:(%w+)') == 'noeviction'
  if max == 0 and keeps then
    max = math.floor(limit * percent / 100)
  end
  return used, max
end

local function bounds_of(log)
  local found = redis.call('HMGET', log, unpack(BOUNDS))
  local bounds = {}
  for i, name in ipairs(BOUNDS) do
    bounds[name] = tonumber(found[i] or 0)
  end
  return bounds
end

local function measure(events)
  local bounds = bounds_of(beside(events, 'log'))
  local count, first = uncommitted(events)
  local bytes, over = volume_since(beside(events, 'volume'), first)
  local age = first and math.max(0, clock() - tonumber(string.match(first, '^%d+'))) or 0
  local used, max_memory = memory(bounds.max_memory, bounds.max_memory_percent)
  return {
    { 'events', count, bounds.max_events }, { 'bytes', bytes, bounds.max_bytes },
    { 'age', age, bounds.max_age }, { 'memory', used, max_memory },
  }, over
end

local function over_bound(gauges, share)
  for _, gauge in ipairs(gauges) do
    if gauge[3] > 0 and gauge[2] >= gauge[3] * share then
      return gauge[1]
    end
  end
  return ''
end

-- Measure, and decide whether the log takes more until the next sample.
local function sample(events, refused)
  local gauges, over = measure(events)
  local reason = over_bound(gauges, refused and LOW or 1)
  if #over > 0 then
    redis.call('HDEL', beside(events, 'volume'), unpack(over))
  end
  redis.call('HSET', beside(events, 'log'), 'sampled_at', int(clock()), 'refuses', reason)
  return reason
end

-- The reply of a function that would write, where the log takes no more: {'busy', reason}; else nil. To be
-- asked before anything is written.
local function overloaded(events)
  local last = redis.call('HMGET', beside(events, 'log'), 'sampled_at', 'refuses')
  local at, reason, now = tonumber(last[1] or 0), last[2] or '', clock()
  if now < at or now - at >= SAMPLE_MS then
    reason = sample(events, reason ~= '')
  end
  return reason ~= '' and { 'busy', reason } or nil
end

-- The same for what PostgreSQL has already, measured at once: half of a backlog, and memory from which a log
-- that refuses would recover, are left to users.
local function crowded(events)
  local gauges = measure(events)
  local memory_gauge = table.remove(gauges)
  local reason = over_bound(gauges, SPARE)
  if reason == '' then
    reason = over_bound({ memory_gauge }, LOW)
  end
  return reason ~= '' and { 'busy', reason } or nil
end

-- Whether memory is so short that the log must not be kept for replay.
local function short_of_memory(events)
  local bounds = bounds_of(beside(events, 'log'))
  local used, max = memory(bounds.max_memory, bounds.max_memory_percent)
  return max > 0 and used >= max * LOW
end

-- Set a partition's bounds, if they are others.
-- KEYS 1 log
-- ARGV in the order of BOUNDS
-- Replies 1 | 0 they were so already
local function set_bounds(keys, args)
  local found, pairs_, same = redis.call('HMGET', keys[1], unpack(BOUNDS)), {}, true
  for i, name in ipairs(BOUNDS) do
    pairs_[2 * i - 1], pairs_[2 * i] = name, args[i]
    same = same and found[i] == args[i]
  end
  if same then
    return 0
  end
  redis.call('HSET', keys[1], 'sampled_at', '0', unpack(pairs_))
  return 1
end

-- How a partition is doing, measured now.
-- KEYS 1 events
-- Replies {'' or what it refuses for, events, bytes, age (ms), memory used, bound on memory}
local function pressure(keys)
  local gauges = measure(keys[1])
  local refuses = redis.call('HGET', beside(keys[1], 'log'), 'refuses')
  local reply = { over_bound(gauges, refuses and refuses ~= '' and LOW or 1) }
  for _, gauge in ipairs(gauges) do
    reply[#reply + 1] = int(gauge[2])
  end
  reply[#reply + 1] = int(gauges[4][3])
  return reply
end

register_function({ function_name = 'turnlog_set_bounds', callback = set_bounds, flags = { 'allow-oom' } })
register_function({ function_name = 'turnlog_pressure', callback = pressure, flags = { 'no-writes' } })
