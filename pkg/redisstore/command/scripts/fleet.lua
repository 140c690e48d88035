-- List the workers whose registrations have not expired, and the tunnels that were marked since a version.
-- KEYS[1] records hash   KEYS[2] deadlines sorted set   KEYS[3] marks hash (tunnel or "desired" -> version of its last mark, and "version")
-- ARGV[1] version of the marks that the caller has seen, 0 for none
-- Returns {version of the marks, number of marks, tunnel or "desired", ..., body (JSON), ...}, in no order.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local version = redis.call('HGET', KEYS[3], 'version') or '0'
local reply = {version, '0'}
if version ~= ARGV[1] then
  local known = tonumber(ARGV[1])
  if (tonumber(version) or 0) < known then
    known = 0 -- the marks were lost
  end
  -- A mark that is older than every supervisor's last look is of no use.
  local old, dropped = now - 600000, 0
  local fields = redis.call('HGETALL', KEYS[3])
  for i = 1, #fields, 2 do
    if fields[i] ~= 'version' then
      local at = tonumber(fields[i + 1]) or now
      if at > known then
        reply[#reply + 1] = fields[i]
      elseif at < old and dropped < 16 then
        redis.call('HDEL', KEYS[3], fields[i])
        dropped = dropped + 1
      end
    end
  end
  reply[2] = string.format('%.0f', #reply - 2)
end
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. string.format('%.0f', now), '+inf')) do
  local body = redis.call('HGET', KEYS[1], id)
  if body then
    reply[#reply + 1] = body
  end
end
return reply
