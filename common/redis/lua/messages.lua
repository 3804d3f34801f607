-- Change messages that are there: edit one, delete one, cut a conversation off behind one.
--
-- Who calls has looked before, and has worked out from that what the change comes to: the new body, the
-- preview, how many go. Nothing here reads a message. So each change is a compare-and-set on the version that
-- was seen, and takes away the token of a rebuild that has read what was before.
--
-- Of edit, remove and truncate:
-- KEYS 1-9 as in shared.lua; 10 the idempotency key, optional
-- ARGV 1-6 as in shared.lua
--   7 version seen  8 digest of the request ('' where there is no key 10)  9 TTL of the idempotency key (ms)
--   10 preview after the change, then what each says
-- Replies
--   {'ok', position or '', header field, …}   '': there was nothing to change
--   {'again', position or '', header field, …}   the idempotency key was used for this request before
--   {'key_conflict'}     it was used for another
--   {'missing'} deleted | {'cold'} load it, then look again | {'moved'} it changed since: look again
--   {'busy', reason}     the log takes no more for now (pressure.lua)

-- All that a change is worked out from, at one moment.
-- KEYS 1 events  2 header  3 pending  4 messages
-- Replies {header fields or {}, pending entries, the cached list}
local function look(keys)
  local k = keys_of(keys)
  local h = read_header(k.header)
  return { h and header_reply(h) or {}, pending_entries(k), redis.call('LRANGE', k.messages, 0, -1) }
end

-- The header of a conversation as it was seen, or nil and the reply that ends the call.
local function seen_header(k, keys, args)
  local h = read_header(k.header)
  if not h then
    return nil, { 'cold' }
  end
  if h.deleted then
    return nil, { 'missing' }
  end
  local answer = remembered(keys[10], args[8])
  if answer then
    if answer[1] == 'key_conflict' then
      return nil, answer
    end
    return nil, { 'again', answer[2], unpack(header_reply(h)) }
  end
  if int(h.version) ~= args[7] then
    return nil, { 'moved' }
  end
  return h, overloaded(k.events)
end

local function changed(k, c, h, args, kind, fields)
  advance(h, c.now)
  h.preview = args[10]
  local position = publish(k, c, h, kind, fields)
  redis.call('HSET', k.header, 'modified', int(h.modified), 'count', int(h.count), 'preview', h.preview,
    'version', int(h.version))
  redis.call('DEL', k.rebuild)
  redis.call('PEXPIRE', k.messages, c.ttl)
  show_in_user_list(k, c, h)
  return position
end

local function answered(h, position, keys, args)
  if keys[10] then
    remember(keys[10], args[8], position, {}, args[9])
  end
  return { 'ok', position, unpack(header_reply(h)) }
end

-- A message's place in the cached list, from 0, and itself; nil where the list does not show it.
local function place_in_list(key, number)
  local start = '{"sequence_number":' .. number .. ','
  for i, message in ipairs(redis.call('LRANGE', key, 0, -1)) do
    if string.sub(message, 1, #start) == start then
      return i - 1, message
    end
  end
  return nil
end

-- ARGV 11 message id  12 its sequence number  13 digest of the new body  14 the new body ('' = as it is)
local function edit(keys, args)
  local k, c = keys_of(keys), call_of(args)
  local h, reply = seen_header(k, keys, args)
  if reply then
    return reply
  end
  local position = ''
  if args[14] ~= '' then
    position = changed(k, c, h, args, 'message.edited', {
      'message_id', args[11], 'sequence', args[12], 'm0', args[14],
    })
    local place = place_in_list(k.messages, args[12])
    if place then
      redis.call('LSET', k.messages, place, served(tonumber(args[12]), args[14]))
    end
    -- An append that comes again is compared with what the message is by now.
    local record = redis.call('HGET', k.header, '#' .. args[11])
    if record then
      local at = string.match(record, ' (%S+)$')
      redis.call('HSET', k.header, '#' .. args[11], args[12] .. ' ' .. args[13] .. ' ' .. at)
    end
  end
  return answered(h, position, keys, args)
end

-- ARGV 11 message id  12 its sequence number
local function remove(keys, args)
  local k, c = keys_of(keys), call_of(args)
  local h, reply = seen_header(k, keys, args)
  if reply then
    return reply
  end
  h.count = h.count - 1
  local position = changed(k, c, h, args, 'message.deleted', {
    'message_id', args[11], 'sequence', args[12],
  })
  local place, message = place_in_list(k.messages, args[12])
  if place then
    redis.call('LREM', k.messages, 1, message)
  end
  redis.call('HSET', k.header, '#' .. args[11], args[12] .. ' ' .. REMOVED .. ' -')
  return answered(h, position, keys, args)
end

-- Remember that all messages between two numbers are gone; what is cut off later holds what was before.
local function remember_cut(key, after, below)
  local cuts = {}
  for a, b in string.gmatch(redis.call('HGET', key, CUTS) or '', '(%-?%d+):(%d+)') do
    if tonumber(a) < tonumber(after) then
      cuts[#cuts + 1] = a .. ':' .. b
    end
  end
  cuts[#cuts + 1] = after .. ':' .. below
  redis.call('HSET', key, CUTS, table.concat(cuts, ' '))
end

-- ARGV 11 the last sequence number that stays (-1: none)  12 how many messages go ('0' = nothing to change)
local function truncate(keys, args)
  local k, c = keys_of(keys), call_of(args)
  local h, reply = seen_header(k, keys, args)
  if reply then
    return reply
  end
  local position, after = '', tonumber(args[11])
  if args[12] ~= '0' then
    h.count = h.count - tonumber(args[12])
    position = changed(k, c, h, args, 'conversation.truncated', { 'after', args[11], 'next', int(h.next) })
    local kept = 0
    for _, message in ipairs(redis.call('LRANGE', k.messages, 0, -1)) do
      if tonumber(string.match(message, '^{"sequence_number":(%d+),')) > after then
        break
      end
      kept = kept + 1
    end
    if kept == 0 then
      redis.call('UNLINK', k.messages)
    else
      redis.call('LTRIM', k.messages, 0, kept - 1)
    end
    remember_cut(k.header, args[11], int(h.next))
  end
  return answered(h, position, keys, args)
end

register_function({ function_name = 'turnlog_look', callback = look, flags = { 'no-writes' } })
register_function('turnlog_edit', edit)
register_function('turnlog_remove', remove)
register_function('turnlog_truncate', truncate)
