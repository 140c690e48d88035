-- Give back the share of a process that ends, or uses nothing of the limit any more.
-- KEYS[1] hash of the limit
-- ARGV[1] process
-- Returns "ok".
redis.call('HDEL', KEYS[1], ARGV[1])
return 'ok'
