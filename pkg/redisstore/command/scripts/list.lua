-- List the registrations that have not expired.
-- KEYS[1] records hash   KEYS[2] deadlines sorted set
-- Returns the bodies (JSON), in no order.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local bodies = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. string.format('%.0f', now), '+inf')) do
  local body = redis.call('HGET', KEYS[1], id)
  if body then
    bodies[#bodies + 1] = body
  end
end
return bodies
