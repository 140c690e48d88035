-- Replace an edge pool. A pool of two regions or more ("good") is never replaced by a worse one.
-- KEYS[1] pool hash
-- ARGV[1] body (JSON)   ARGV[2] "1" when the new pool is good, else "0"
-- Returns {"ok", version} | {"worse", stored version}.
-- The version grows even if the newest write was lost: max(stored + 1, server time in ms).
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local stored = redis.call('HMGET', KEYS[1], 'version', 'good')
if stored[2] == '1' and ARGV[2] ~= '1' then
  return {'worse', stored[1]}
end
local version = string.format('%.0f', math.max((tonumber(stored[1] or '0') or 0) + 1, now))
redis.call('HSET', KEYS[1], 'version', version, 'good', ARGV[2], 'body', ARGV[1])
return {'ok', version}
