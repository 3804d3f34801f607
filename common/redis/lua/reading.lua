-- How persisters read: pages that are bounded in bytes, too, since nobody knows the size of what comes next
-- before it is there; and what a consumer that is gone holds is let go. A page is over its bound by no more
-- than its last entry, and is never empty because of it.

-- The bytes of an entry's names and values.
local function size_of_entry(entry)
  local size = 0
  for _, word in ipairs(entry[2]) do
    size = size + #word
  end
  return size
end

-- Deliver entries that no consumer has had. Does not wait.
-- KEYS 1 events
-- ARGV 1 consumer group  2 consumer  3 most entries  4 bytes with which a page is full
-- Replies entries, each {position, {name, value, …}}
local function read_page(keys, args)
  local page, size = {}, 0
  while #page < tonumber(args[3]) and size < tonumber(args[4]) do
    local reply = redis.pcall(
      'XREADGROUP', 'GROUP', args[1], args[2], 'COUNT', '1', 'STREAMS', keys[1], '>')
    if reply and reply.err then
      return reply
    end
    if not reply then
      break
    end
    page[#page + 1] = reply[1][2][1]
    size = size + size_of_entry(page[#page])
  end
  return page
end

-- Take over entries that their consumers have not settled for long. Whoever calls goes on with the cursor
-- until it is 0-0: a page may be empty and not the last.
-- KEYS 1 events
-- ARGV 1 consumer group  2 consumer  3 idle for at least (ms)  4 cursor  5 most entries
--   6 bytes with which a page is full
-- Replies {cursor, entries, positions whose entries are gone from the log}
local function claim_page(keys, args)
  local cursor, page, lost, size = args[4], {}, {}, 0
  for _ = 1, tonumber(args[5]) do
    local reply = redis.pcall('XAUTOCLAIM', keys[1], args[1], args[2], args[3], cursor, 'COUNT', '1')
    if reply.err then
      return reply
    end
    cursor = reply[1]
    for _, entry in ipairs(reply[2]) do
      page[#page + 1] = entry
      size = size + size_of_entry(entry)
    end
    for _, position in ipairs(reply[3]) do
      lost[#lost + 1] = position
    end
    if cursor == '0-0' or size >= tonumber(args[6]) then
      break
    end
  end
  return { cursor, page, lost }
end

-- Let go of what consumers hold: their entries count as idle for so long that whoever claims next has them.
-- They stay theirs until then, and a consumer that is alive after all may settle them still.
-- KEYS 1 events
-- ARGV 1 consumer group  2 idle from now on (ms)  then the consumers' names
-- Replies {how many they hold, positions whose entries are gone from the log}
local function let_go(keys, args)
  local held, lost = 0, {}
  for i = 3, #args do
    local from = '-'
    while from do
      local found = redis.pcall('XPENDING', keys[1], args[1], from, '+', '1000', args[i])
      if found.err then
        return found
      end
      local positions, claimed = {}, {}
      for j, entry in ipairs(found) do
        positions[j] = entry[1]
      end
      if #positions > 0 then
        -- No more than the command's name, its options and 1,000 positions: what Lua can unpack.
        local words = { keys[1], args[1], args[i], '0', unpack(positions) }
        for _, word in ipairs({ 'IDLE', args[2], 'JUSTID' }) do
          words[#words + 1] = word
        end
        for _, position in ipairs(redis.call('XCLAIM', unpack(words))) do
          claimed[position] = true
        end
      end
      for _, position in ipairs(positions) do
        if claimed[position] then
          held = held + 1
        else
          lost[#lost + 1] = position
        end
      end
      from = #positions == 1000 and '(' .. positions[#positions] or nil
    end
  end
  return { held, lost }
end

register_function({ function_name = 'turnlog_read_page', callback = read_page, flags = { 'allow-oom' } })
register_function({ function_name = 'turnlog_claim_page', callback = claim_page, flags = { 'allow-oom' } })
register_function({ function_name = 'turnlog_let_go', callback = let_go, flags = { 'allow-oom' } })
