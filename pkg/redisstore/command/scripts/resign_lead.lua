-- Give a leader lease up, if the caller holds it. The term stays: it only grows.
-- KEYS[1] lead hash
-- ARGV[1] holder
-- Returns 1 when it was given up, 0 when the caller did not hold it.
if redis.call('HGET', KEYS[1], 'holder') ~= ARGV[1] then
  return 0
end
redis.call('HSET', KEYS[1], 'holder', '', 'deadline', '0')
return 1
