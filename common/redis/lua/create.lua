-- Create a conversation without messages.
--
-- KEYS 1-9 as in shared.lua; 10 the idempotency key, optional
-- ARGV 1-6 as in shared.lua
--   7 'fresh', a rebuild's token, or '' (only if it is there)   8-11 title, model, metadata, created_at
--   12 digest of the request ('' where there is no key 10)   13 TTL of the idempotency key (ms)
-- Replies
--   {'created', header field, …}   the fields in the order of FIELDS
--   {'exists', header field, …}    it was there: nothing changed
--   {'deleted'}                    it was, and its id cannot be used again
--   {'key_conflict'}               the idempotency key was used for another request
--   {'cold'}                       not in Redis: load it, then call again with the rebuild's token
--   {'busy', reason}               the log takes no more for now (pressure.lua)

local function create_conversation(keys, args)
  local k, c = keys_of(keys), call_of(args)
  local answer = remembered(keys[10], args[12])
  if answer and answer[1] == 'key_conflict' then
    return answer
  end
  local h, reply = read_header(k.header), 'exists'
  if h and h.deleted then
    return { 'deleted' }
  end
  if not h then
    local busy = overloaded(k.events)
    if busy then
      return busy
    end
    if not may_create(k, args[7]) then
      return { 'cold' }
    end
    h, reply = create(k, c, args[8], args[9], args[10], args[11]), 'created'
    show_in_user_list(k, c, h)
  end
  if keys[10] then
    remember(keys[10], args[12], '', {}, args[13])
  end
  return { reply, unpack(header_reply(h)) }
end

register_function('turnlog_create', create_conversation)
