-- Note what a proxy has in force for a tunnel.
-- KEYS[1] history hash of the tunnel
-- ARGV[1] proxy   ARGV[2] version of the edge's push in force, -1 for none   ARGV[3] number in force, 0 for none   ARGV[4] result (JSON)
-- ARGV[5] number of results to keep
-- Returns "ok". The highest push and number stay, whatever proxies say later: the next version is made on top of them.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local function raise(field, value, lowest)
  local have = tonumber(redis.call('HGET', KEYS[1], field) or lowest) or tonumber(lowest)
  if tonumber(value) > have then
    redis.call('HSET', KEYS[1], field, value)
  end
end
raise('push', ARGV[2], '-1')
raise('floor', ARGV[3], '0')
redis.call('HSET', KEYS[1], 'result/' .. ARGV[1], string.format('%.0f %s', now, ARGV[4]))
local names = {}
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
  if string.sub(field, 1, 7) == 'result/' then
    names[#names + 1] = field
  end
end
if #names > tonumber(ARGV[5]) then
  local written = {}
  for _, name in ipairs(names) do
    written[name] = tonumber(string.match(redis.call('HGET', KEYS[1], name), '^(%d+) ') or '0')
  end
  table.sort(names, function(a, b)
    if written[a] ~= written[b] then
      return written[a] < written[b]
    end
    return a < b
  end)
  for i = 1, #names - tonumber(ARGV[5]) do
    redis.call('HDEL', KEYS[1], names[i])
  end
end
return 'ok'
