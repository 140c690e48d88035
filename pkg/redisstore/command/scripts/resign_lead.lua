-- Give a leader lease up, if the caller holds it.
-- KEYS[1] lead hash
-- ARGV[1] holder
-- Returns 1 when it was given up, 0 when the caller did not hold it.
if redis.call('HGET', KEYS[1], 'holder') ~= ARGV[1] then
  return 0
end
redis.call('DEL', KEYS[1])
return 1
