-- Take or renew a leader lease.
-- KEYS[1] lead hash
-- ARGV[1] holder   ARGV[2] ttl in ms   ARGV[3] highest term that the caller has seen, 0 for none
-- Returns {"1" when the caller leads, else "0", term in force, term before this call or "0", now in ms, deadline before this call or
-- "0"}.
-- A term begins with every change of the holder and after every gap, and is higher than all before: max(stored + 1, seen + 1,
-- server time in ms). It has no TTL: a lower one than before tells the caller that the store lost data. A record that
-- cannot be read counts as absent.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local clock = string.format('%.0f', now)
-- What is neither read nor written for 30 days is of a role that is gone. Half of that must have passed before it is put off again.
local function keep(key)
  if redis.call('PTTL', key) < 1296000000 then
    redis.call('PEXPIRE', key, '2592000000')
  end
end
local stored = redis.call('HMGET', KEYS[1], 'holder', 'deadline', 'term')
local before = tonumber(stored[3] or '0') or 0
local term, seen = before, tonumber(ARGV[3])
local deadline = tonumber(stored[2] or '0') or 0
local live, till = deadline > now, string.format('%.0f', deadline)
if live and stored[1] and stored[1] ~= ARGV[1] then
  return {'0', string.format('%.0f', term), string.format('%.0f', before), clock, till}
end
if not live or stored[1] ~= ARGV[1] or term == 0 or term < seen then
  term = math.max(term + 1, seen + 1, now)
end
redis.call('HSET', KEYS[1],
  'holder', ARGV[1],
  'deadline', string.format('%.0f', now + tonumber(ARGV[2])),
  'term', string.format('%.0f', term))
keep(KEYS[1])
return {'1', string.format('%.0f', term), string.format('%.0f', before), clock, till}
