-- wrk: append one message to, or read the last 20 of, one of many conversations in turn.
-- Arguments: append | read, a file with one conversation id a line, one with a message (JSON) a line, a token.
local conversations, messages, at, append, headers = {}, {}, 0, true, {}

function init(args)
  append = args[1] == 'append'
  for line in io.lines(args[2]) do
    conversations[#conversations + 1] = line
  end
  for line in io.lines(args[3]) do
    messages[#messages + 1] = line
  end
  headers = { ['Authorization'] = 'Bearer ' .. args[4], ['Content-Type'] = 'application/json' }
  math.randomseed(os.time())
  at = math.random(100000)
end

function request()
  at = at + 1
  local path = '/api/conversations/' .. conversations[at % #conversations + 1] .. '/messages'
  if append then
    return wrk.format('POST', path, headers, messages[at % #messages + 1])
  end
  return wrk.format('GET', path .. '?limit=20', headers)
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format('RESULT %d %d %d %.3f %.3f\n', summary.requests, summary.duration,
    errors.status + errors.connect + errors.read + errors.timeout,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000))
end
