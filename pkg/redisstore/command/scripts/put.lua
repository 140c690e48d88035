-- Write the registration of a process, and drop a few that have expired.
-- KEYS[1] records hash (id -> body)   KEYS[2] deadlines sorted set (id by deadline in ms)
-- KEYS[3] revisions hash of the records, of a worker
-- ARGV[1] id   ARGV[2] ttl in ms   ARGV[3] body (JSON)
-- Returns 1.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local ttl = tonumber(ARGV[2])
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
redis.call('ZADD', KEYS[2], string.format('%.0f', now + ttl), ARGV[1])
local dead = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', string.format('%.0f', now), 'LIMIT', '0', '16')
for _, id in ipairs(dead) do
  if id ~= ARGV[1] then
    redis.call('HDEL', KEYS[1], id)
    redis.call('ZREM', KEYS[2], id)
  end
end
if KEYS[3] then
  redis.call('HDEL', KEYS[3], ARGV[1]) -- a record without a revision is read each time
end
-- The keys outlive their longest record.
for i = 1, 2 do
  if redis.call('PTTL', KEYS[i]) < ttl then
    redis.call('PEXPIRE', KEYS[i], ARGV[2])
  end
end
return 1
