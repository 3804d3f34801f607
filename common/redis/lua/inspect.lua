-- A log that came back older than what PostgreSQL has of it: what is stale goes, then the run of the server
-- is stamped. Until that stamp no connection is used; after it, nothing here changes anything, so that an
-- inspector who was held up cannot take away what others have begun to use. None of it needs memory.

-- Whether this server is in the run that the caller means: it may have been restarted since the caller asked,
-- and what is true of the one run is not of the next.
local function is_run(run)
  return string.match(redis.call('INFO', 'server'), 'run_id:(%w+)') == run
end

-- Have the run inspected anew, because the record had the say until a certain return.
-- KEYS 1 log
-- ARGV 1 the return
-- Replies 1 | 0 the caches were dropped for it: the log may be in use again
local function revoke_run(keys, args)
  if redis.call('HGET', keys[1], 'returned') == args[1] then
    return 0
  end
  redis.call('HDEL', keys[1], 'run_id')
  return 1
end

-- The caches are dropped for a return: whoever is late with the same revokes nothing any more.
-- KEYS 1 log
-- ARGV 1 the return
-- Replies 1
local function returned(keys, args)
  redis.call('HSET', keys[1], 'returned', args[1])
  return 1
end

-- Drop cached keys.
-- KEYS 1 log  then those to drop
-- ARGV 1 run of the server
-- Replies how many there were | -1 this run was inspected already, or is over
local function drop_stale(keys, args)
  if redis.call('HGET', keys[1], 'run_id') == args[1] or not is_run(args[1]) then
    return -1
  end
  local dropped = 0
  for i = 2, #keys do
    dropped = dropped + redis.call('UNLINK', keys[i])
  end
  return dropped
end

-- Take positions off a pending list whose entries the log does not have.
-- KEYS 1 events  2 header  3 pending  4 user's pending
-- ARGV 1 conversation  2 cache TTL (ms)
-- Replies how many are left
local function prune_pending(keys, args)
  for _, position in ipairs(redis.call('LRANGE', keys[3], 0, -1)) do
    if #redis.call('XRANGE', keys[1], position, position) == 0 then
      redis.call('LREM', keys[3], 1, position)
    end
  end
  local left = redis.call('LLEN', keys[3])
  if left == 0 then
    redis.call('SREM', keys[4], args[1])
    redis.call('PEXPIRE', keys[2], args[2])
  end
  return left
end

-- Stamp the run of the server. A log that ends before what is committed is first set to end there, so that
-- no position is given twice.
-- KEYS 1 log  2 events
-- ARGV 1 run of the server  2 the committed position  3 consumer group
-- Replies where the log ended, if that was before what is committed | '' | false that run is over
local function admit_run(keys, args)
  if not is_run(args[1]) then
    return false
  end
  if redis.call('HGET', keys[1], 'run_id') == args[1] then
    return ''
  end
  local last, ended = last_position(keys[2]), ''
  if before(last, args[2]) then
    ended = last
    create_group({ keys[2] }, { args[3] })
    redis.call('XSETID', keys[2], args[2])
    redis.call('HINCRBY', keys[1], 'rollbacks', 1)
  end
  redis.call('HSET', keys[1], 'run_id', args[1])
  return ended
end

-- The last position that a log gave out.
-- KEYS 1 events
-- Replies the position, 0-0 before any
local function last_given(keys)
  return last_position(keys[1])
end

register_function({
  function_name = 'turnlog_last_position', callback = last_given, flags = { 'no-writes' },
})
register_function({ function_name = 'turnlog_revoke_run', callback = revoke_run, flags = { 'allow-oom' } })
register_function({ function_name = 'turnlog_returned', callback = returned, flags = { 'allow-oom' } })
register_function({ function_name = 'turnlog_drop_stale', callback = drop_stale, flags = { 'allow-oom' } })
register_function({
  function_name = 'turnlog_prune_pending', callback = prune_pending, flags = { 'allow-oom' },
})
register_function({ function_name = 'turnlog_admit_run', callback = admit_run, flags = { 'allow-oom' } })
