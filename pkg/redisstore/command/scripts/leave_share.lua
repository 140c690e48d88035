-- Give a share of a lead up, if the caller has one. The last member leaves the lead to versions that know one leader only.
-- KEYS[1] lead hash
-- ARGV[1] member   ARGV[2] name of the holder that stands for all members
-- Returns 1 when it was given up, 0 when the caller had none.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
if redis.call('HDEL', KEYS[1], 'm:' .. ARGV[1]) == 0 then
  return 0
end
local view = tonumber(redis.call('HGET', KEYS[1], 'view') or '0') or 0
redis.call('HSET', KEYS[1], 'view', string.format('%.0f', view + 1))
if redis.call('HGET', KEYS[1], 'holder') ~= ARGV[2] then
  return 1
end
local fields = redis.call('HGETALL', KEYS[1])
for i = 1, #fields, 2 do
  local till = string.match(fields[i + 1], '^(%d+) %d+ %d+$')
  if string.sub(fields[i], 1, 2) == 'm:' and till and tonumber(till) > now then
    return 1
  end
end
redis.call('HSET', KEYS[1], 'holder', '', 'deadline', '0')
return 1
