-- Take or renew a leader lease.
-- KEYS[1] lead hash
-- ARGV[1] holder   ARGV[2] ttl in ms
-- Returns 1 when the caller leads, 0 when another holder does.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local stored = redis.call('HMGET', KEYS[1], 'holder', 'deadline')
if stored[1] and stored[1] ~= ARGV[1] and tonumber(stored[2]) > now then
  return 0
end
redis.call('HSET', KEYS[1], 'holder', ARGV[1], 'deadline', string.format('%.0f', now + tonumber(ARGV[2])))
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
