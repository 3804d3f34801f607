-- Change title, model or metadata of a conversation.
--
-- KEYS 1-9 as in shared.lua
-- ARGV 1-6 as in shared.lua; 7-9 title, model, metadata ('' = leave as it is)
-- Replies: {'ok', header field, …} | {'missing'} deleted | {'cold'} load it, then call again
--   | {'busy', reason} the log takes no more for now (pressure.lua)

local function update(keys, args)
  local k, c = keys_of(keys), call_of(args)
  local h, refused = living_header(k.header)
  if not h then
    return refused
  end
  local busy = overloaded(k.events)
  if busy then
    return busy
  end
  for i, field in ipairs({ 'title', 'model', 'metadata' }) do
    if args[6 + i] ~= '' then
      h[field] = args[6 + i]
    end
  end
  advance(h, c.now)
  write_header(k.header, h)
  publish(k, c, h, 'conversation.updated', { 'state', state_json(h) })
  show_in_user_list(k, c, h)
  return { 'ok', unpack(header_reply(h)) }
end

register_function('turnlog_update', update)
