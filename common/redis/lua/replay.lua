-- Replays: caches made anew, without losing anything that only Redis knows; and the record told on the log.

-- Drop them. A header on which something is pending stays, and is marked to go once all is settled.
-- KEYS 1-9 as in shared.lua
-- Replies 1 = the header stays  0 = it is gone, too
local function drop_conversation(keys)
  local k = keys_of(keys)
  redis.call('UNLINK', k.messages, k.rebuild, k.conversations, k.summaries, k.user_rebuild)
  local deleted = redis.call('HGET', k.header, 'deleted')
  if not deleted then
    return 0
  end
  if deleted == '1' then
    return 1
  end
  if redis.call('EXISTS', k.pending) == 1 then
    redis.call('HSET', k.header, STALE, '1')
    return 1
  end
  redis.call('UNLINK', k.header)
  return 0
end

-- Put events on the log that a record has. They get new positions and are on no pending list: nobody waits
-- for them, nothing that is cached shows them, and the consumer group settles them as any entry.
-- KEYS 1 events
-- ARGV for each event: the number of its fields and values, then those
-- Replies 'ok' | {'busy', reason} what the log may take beside its users' is there
local function tell(keys, args)
  local busy = crowded(keys[1])
  if busy then
    return busy
  end
  local i = 1
  while i <= #args do
    local last = i + tonumber(args[i])
    local words = { unpack(args, i + 1, last) }
    count_volume(keys[1], redis.call('XADD', keys[1], '*', unpack(words)), words)
    i = last + 1
  end
  return 'ok'
end

register_function('turnlog_tell', tell)
register_function({
  function_name = 'turnlog_drop_conversation', callback = drop_conversation, flags = { 'allow-oom' },
})
