-- Tell a worker that slots of tunnels have changed: it sees it with the next renewal of its lease.
-- KEYS[1] inbox of the worker
-- ARGV[1] ttl in ms, then the tunnels
-- Returns the version of the inbox.
-- The version grows even if the newest one was lost: max(stored + 1, server time in ms).
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local stored = tonumber(redis.call('HGET', KEYS[1], 'version') or '0') or 0
local version = string.format('%.0f', math.max(stored + 1, now))
redis.call('HSET', KEYS[1], 'version', version)
for i = 2, #ARGV do
  redis.call('HSET', KEYS[1], ARGV[i], version)
end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return version
