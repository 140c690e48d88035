-- Read all slots of a connector together with the time.
-- KEYS[1] slots hash
-- Returns {now in ms, field, value, ...}; the fields are described in keys.go.
local time = redis.call('TIME')
local reply = redis.call('HGETALL', KEYS[1])
table.insert(reply, 1, string.format('%.0f', tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)))
return reply
