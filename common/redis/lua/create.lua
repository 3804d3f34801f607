-- Create a conversation without messages.
--
-- KEYS 1-9 as in shared.lua
-- ARGV 1-6 as in shared.lua
--   7 'fresh', a rebuild's token, or '' (only if it is there)   8-11 title, model, metadata, created_at
-- Replies
--   {'created', header field, …}   the fields in the order of FIELDS
--   {'exists', header field, …}    it was there: nothing changed
--   {'deleted'}                    it was, and its id cannot be used again
--   {'cold'}                       not in Redis: load it, then call again with the rebuild's token

local function create_conversation(keys, args)
  local k, c = keys_of(keys), call_of(args)
  local h = read_header(k.header)
  if h then
    if h.deleted then
      return { 'deleted' }
    end
    return { 'exists', unpack(header_reply(h)) }
  end
  if not may_create(k, args[7]) then
    return { 'cold' }
  end
  h = create(k, c, args[8], args[9], args[10], args[11])
  show_in_user_list(k, c, h)
  return { 'created', unpack(header_reply(h)) }
end

redis.register_function('turnlog_create', create_conversation)
