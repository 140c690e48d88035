-- List the workers whose registrations have not expired, and the tunnels that were marked since a version.
-- KEYS[1] records hash   KEYS[2] deadlines sorted set   KEYS[3] marks hash (tunnel or "desired" -> version of its last mark, and "version")
-- KEYS[4] revisions hash (id -> "revision instance" of its record, and the highest revision of all under the empty id)
-- KEYS[5] instances hash (id -> "instance number")
-- ARGV[1] version of the marks that the caller has seen, 0 for none   ARGV[2] highest revision that it has seen, 0 for none
-- Returns {version of the marks, number of marks, tunnel or "desired", ..., highest revision, then two for each worker in no order: id,
-- body (JSON)}. The body is empty when it has not changed since the revision that the caller has seen. A process of a version that writes no
-- revisions may have taken the id over: then the revision is that of another instance.
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
local revision, seen = tonumber(redis.call('HGET', KEYS[4], '') or '0') or 0, tonumber(ARGV[2])
if revision < seen then
  seen = 0 -- the revisions were lost
end
reply[#reply + 1] = string.format('%.0f', revision)
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. string.format('%.0f', now), '+inf')) do
  local changed, by = string.match(redis.call('HGET', KEYS[4], id) or '', '^(%d+) (%S+)$')
  local body = ''
  if seen == 0 or not changed or tonumber(changed) > seen or by ~= string.match(redis.call('HGET', KEYS[5], id) or '', '^(%S+) ') then
    body = redis.call('HGET', KEYS[1], id)
  end
  if body then
    reply[#reply + 1] = id
    reply[#reply + 1] = body
  end
end
return reply
