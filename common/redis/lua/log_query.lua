-- Log one query for analytics.
--
-- KEYS 1 events
-- ARGV 1 user  2 conversation ('' = none)  3 now (ms)  4 log id  5 log (JSON object)
-- Replies the position | {'busy', reason} the log takes no more for now (pressure.lua)
local function log_query(keys, args)
  local busy = overloaded(keys[1])
  if busy then
    return busy
  end
  local about = args[2] ~= '' and { 'conversation', args[2] } or {}
  local position = redis.call('XADD', keys[1], '*', 'v', '1', 'type', 'query.logged', 'user', args[1],
    'at', args[3], 'log_id', args[4], 'log', args[5], unpack(about))
  mark_large(keys[1], position, #args[5])
  return position
end

register_function('turnlog_log_query', log_query)
