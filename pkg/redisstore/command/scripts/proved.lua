-- Report whether a connection of the connector was live recently.
-- KEYS[1] proved record
-- Returns 1 or 0.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
if tonumber(redis.call('GET', KEYS[1]) or '0') > now then
  return 1
end
return 0
