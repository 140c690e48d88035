-- Begin a new generation of the store: data was lost, and the workers report all their slots again.
-- KEYS[1] generation of the store
-- Returns the generation.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local generation = string.format('%.0f', math.max((tonumber(redis.call('GET', KEYS[1]) or '0') or 0) + 1, now))
redis.call('SET', KEYS[1], generation)
return generation
