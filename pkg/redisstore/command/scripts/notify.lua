-- Tell a worker that slots of tunnels have changed: it sees it with the next renewal of its lease. Or mark tunnels for the supervisors,
-- which see it when they list the workers.
-- KEYS[1] inbox of the worker, or the marks
-- ARGV[1] ttl in ms, then the tunnels; among the marks also "desired", for what operators desire
-- Returns the version of the inbox, or of the marks.
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
