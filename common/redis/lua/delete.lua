-- Delete a conversation, for ever: the header stays as its tombstone until PostgreSQL has one, the lists
-- go, and a rebuild that was under way is refused. A log that takes no more takes this: it is small, and it
-- frees memory.
--
-- KEYS 1-9 as in shared.lua
-- ARGV 1-6 as in shared.lua
-- Replies: {'ok', position} | {'missing'} deleted already | {'cold'} load it, then call again

local function delete(keys, args)
  local k, c = keys_of(keys), call_of(args)
  local h, refused = living_header(k.header)
  if not h then
    return refused
  end
  advance(h, c.now)
  h.epoch = h.epoch + 1
  h.deleted = true
  h.title, h.model, h.metadata, h.preview, h.count = 'null', 'null', '{}', 'null', 0
  redis.call('UNLINK', k.header, k.messages, k.rebuild)
  write_header(k.header, h)
  local position = publish(k, c, h, 'conversation.deleted', {})
  show_in_user_list(k, c, h)
  return { 'ok', position }
end

register_function('turnlog_delete', delete)
