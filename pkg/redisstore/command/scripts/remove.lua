-- End the registration of a process.
-- KEYS[1] records hash   KEYS[2] deadlines sorted set
-- ARGV[1] id
-- Returns the number of registrations that ended: 0 or 1.
redis.call('ZREM', KEYS[2], ARGV[1])
return redis.call('HDEL', KEYS[1], ARGV[1])
