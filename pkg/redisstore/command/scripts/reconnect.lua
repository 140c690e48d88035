-- Ask the holder of a slot to make its connection again. It sees it when it reads its slots.
-- KEYS[1] slots hash   KEYS[2] fence of the connector
-- ARGV[1] index   ARGV[2] epoch   ARGV[3] id of the command   ARGV[4] term of the lead under which the caller decided
-- Returns "ok" | "fenced" (another epoch, or nobody holds the slot) | "absent" (never granted, or the grant was lost)
-- | "term N" (a leader with the newer term N is in charge).
local fence = tonumber(redis.call('GET', KEYS[2]) or '0') or 0
if fence > tonumber(ARGV[4]) then
  return 'term ' .. string.format('%.0f', fence)
end
local slot = ARGV[1]
local stored = redis.call('HMGET', KEYS[1], slot .. ':epoch', slot .. ':worker')
if not stored[1] then
  return 'absent'
end
if stored[1] ~= ARGV[2] or not stored[2] or stored[2] == '' then
  return 'fenced'
end
redis.call('HSET', KEYS[1], slot .. ':reconnect', ARGV[2] .. '/' .. ARGV[3])
return 'ok'
