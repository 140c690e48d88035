-- End the registration of a process.
-- KEYS[1] records hash   KEYS[2] deadlines sorted set   KEYS[3] instances hash, of a worker   KEYS[4] its inbox
-- KEYS[5] revisions hash of the records, of a worker
-- ARGV[1] id   ARGV[2] instance, of a worker: another process that has the id by now keeps it
-- Returns the number of registrations that ended: 0 or 1.
if KEYS[3] then
  local stored = redis.call('HGET', KEYS[3], ARGV[1])
  if stored and ARGV[2] and string.match(stored, '^(%S+) ') ~= ARGV[2] then
    return 0
  end
  redis.call('HDEL', KEYS[3], ARGV[1])
  redis.call('DEL', KEYS[4])
  redis.call('HDEL', KEYS[5], ARGV[1])
end
redis.call('ZREM', KEYS[2], ARGV[1])
return redis.call('HDEL', KEYS[1], ARGV[1])
