-- Return the holder of a leader lease.
-- KEYS[1] lead hash
-- Returns the holder, or an empty string when nobody leads.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local stored = redis.call('HMGET', KEYS[1], 'holder', 'deadline')
if stored[1] and tonumber(stored[2]) > now then
  return stored[1]
end
return ''
