-- Have a conversation's caches made anew, without losing anything that only Redis knows.

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

redis.register_function({
  function_name = 'turnlog_drop_conversation', callback = drop_conversation, flags = { 'allow-oom' },
})
