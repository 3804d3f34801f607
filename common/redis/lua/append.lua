-- Append messages to a conversation, all or none; may create the conversation.
--
-- KEYS 1-9 as in shared.lua; 10 the idempotency key, optional
-- ARGV 1-6 as in shared.lua
--   7 preview ('' = leave as it is)
--   8 message ids are known to be absent below this sequence number ('' = the ids are fresh)
--   9 create: '' = it must exist; 'fresh' or a rebuild's token = create it where it is absent
--   10-13 title, model, metadata, created_at of a conversation to create; without 9: the title that it gets if
--     it has none ('' = it stays so)
--   14 digest of the request ('' where there is no key 10)   15 TTL of the idempotency key (ms)
--   then four for each message: id, digest, sequence number if PostgreSQL knows it (else ''), body
-- Replies
--   {'ok', position or '', how many were there already, sequence number, …}   the position is that of the
--     new messages, else of the last repeated one while Redis knows it
--   {'missing'}          deleted
--   {'cold'}             not in Redis: load it, then call again
--   {'check', n}         look the ids up in PostgreSQL below n, then call again
--   {'taken', i, n, …}   the i-th message's id (from 0) is that of message n, whose digest is another: compare
--     the two, and if they are the same all the same, call again with n as its known number
--   {'removed', i, …}    the i-th messages were deleted
--   {'key_conflict'}     the idempotency key was used for another request
--   {'busy', reason}     the log takes no more for now (pressure.lua); what is there already is answered

local function is_cut(cuts, number)
  for after, below in string.gmatch(cuts or '', '(%-?%d+):(%d+)') do
    if tonumber(number) > tonumber(after) and tonumber(number) < tonumber(below) then
      return true
    end
  end
  return false
end

-- What is there already: the sequence number of each message, false where it is new, and the latest
-- position among those found. Or nil and the reply that ends the call.
local function known_messages(key, h, args, first, checked)
  local ids = {}
  for i = first, #args, 4 do
    ids[#ids + 1] = '#' .. args[i]
  end
  local records = redis.call('HMGET', key, unpack(ids))
  local cuts = redis.call('HGET', key, CUTS)
  local numbers, latest, taken, removed = {}, '', { 'taken' }, { 'removed' }
  for m, record in ipairs(records) do
    local i = first + (m - 1) * 4
    if record then
      -- A digest that is not known (-) is no message's.
      local number, digest, position = string.match(record, '^(%d+) (%S+) (%S+)$')
      if digest == REMOVED or is_cut(cuts, number) then
        removed[#removed + 1] = m - 1
      elseif digest ~= args[i + 1] and number ~= args[i + 2] then
        taken[#taken + 1] = m - 1
        taken[#taken + 1] = number
      end
      numbers[m] = number
      if position ~= '-' and (latest == '' or before(latest, position)) then
        latest = position
      end
    elseif args[i + 2] ~= '' then
      numbers[m] = args[i + 2]
      if is_cut(cuts, args[i + 2]) then
        removed[#removed + 1] = m - 1
      end
    elseif checked and h.ids_from > checked then
      return nil, { 'check', int(h.ids_from) }
    else
      numbers[m] = false
    end
  end
  if #removed > 1 then
    return nil, removed
  end
  if #taken > 1 then
    return nil, taken
  end
  return numbers, latest
end

local function push(k, c, first_number, messages)
  -- A list that begins with the conversation's first message is whole, so it may be begun here. Any
  -- other list is only ever added to: pushing onto an absent one would show a part as the whole.
  local length
  if first_number == 0 then
    length = redis.call('RPUSH', k.messages, unpack(messages))
  else
    length = redis.call('RPUSHX', k.messages, unpack(messages))
  end
  redis.call('RPUSHX', k.rebuild, unpack(messages))
  if length > 0 then
    if length > c.list_max then
      redis.call('LTRIM', k.messages, -c.list_max, -1)
    end
    redis.call('PEXPIRE', k.messages, c.ttl)
  end
end

local function append_new(k, c, h, args, first, numbers, preview)
  local first_number = h.next
  local entry, new, messages = { 'first', int(first_number), 'n', '0' }, {}, {}
  for m, number in ipairs(numbers) do
    if not number then
      local i = first + (m - 1) * 4
      entry[#entry + 1] = 'm' .. #messages
      entry[#entry + 1] = args[i + 3]
      messages[#messages + 1] = served(h.next, args[i + 3])
      new[#new + 1] = m
      numbers[m] = int(h.next)
      h.next = h.next + 1
    end
  end
  entry[4] = tostring(#messages)
  h.count = h.count + #messages
  if preview ~= '' then
    h.preview = preview
  end
  advance(h, c.now)
  local position = publish(k, c, h, 'messages.appended', entry)
  local changes = {
    'modified', int(h.modified), 'next', int(h.next), 'count', int(h.count), 'preview', h.preview,
    'version', int(h.version),
  }
  for _, m in ipairs(new) do
    local i = first + (m - 1) * 4
    changes[#changes + 1] = '#' .. args[i]
    changes[#changes + 1] = numbers[m] .. ' ' .. args[i + 1] .. ' ' .. position
  end
  redis.call('HSET', k.header, unpack(changes))
  push(k, c, first_number, messages)
  show_in_user_list(k, c, h)
  return position
end

-- A conversation without a title takes one from a message.
local function entitle(k, c, h, title)
  h.title = title
  advance(h, c.now)
  redis.call('HSET', k.header, 'title', title)
  publish(k, c, h, 'conversation.updated', { 'state', state_json(h) })
end

local function append(keys, args)
  local k, c, first = keys_of(keys), call_of(args), 16
  local h = read_header(k.header)
  if h and h.deleted then
    return { 'missing' }
  end
  local absent = not h
  local busy = absent and overloaded(k.events)
  if busy then
    return busy
  end
  if absent and not may_create(k, args[9]) then
    return { 'cold' }
  end
  local answer = remembered(keys[10], args[14])
  if answer then
    return answer
  end
  local numbers, position = {}, ''
  if h then
    numbers, position = known_messages(k.header, h, args, first, tonumber(args[8]))
    if not numbers then
      return position
    end
  else
    h = create(k, c, args[10], args[11], args[12], args[13])
    for m = 1, (#args - first + 1) / 4 do
      numbers[m] = false
    end
  end
  local known = 0
  for _, number in ipairs(numbers) do
    if number then
      known = known + 1
    end
  end
  if known < #numbers then
    busy = not absent and overloaded(k.events)
    if busy then
      return busy
    end
    if args[9] == '' and args[10] ~= '' and h.title == 'null' then
      entitle(k, c, h, args[10])
    end
    position = append_new(k, c, h, args, first, numbers, args[7])
  end
  if keys[10] then
    remember(keys[10], args[14], position, numbers, args[15])
  end
  return { 'ok', position, known, unpack(numbers) }
end

register_function('turnlog_append', append)
