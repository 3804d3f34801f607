-- Which services are alive, told by themselves. The time is Redis's: their clocks need not agree. Full
-- memory does not stop it: a service that cannot say that it lives is taken for dead.

-- Say that a service lives, and forget those that have not for long.
-- KEYS 1 heartbeats
-- ARGV 1 who  2 how long to remember (ms)
-- Replies how many are remembered
local function heartbeat(keys, args)
  local now = clock()
  redis.call('ZADD', keys[1], now, args[1])
  redis.call('ZREMRANGEBYSCORE', keys[1], '-inf', now - tonumber(args[2]))
  redis.call('PEXPIRE', keys[1], args[2])
  return redis.call('ZCARD', keys[1])
end

register_function({ function_name = 'turnlog_heartbeat', callback = heartbeat, flags = { 'allow-oom' } })
