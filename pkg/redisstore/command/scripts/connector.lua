-- Read the connector id of a tunnel.
-- KEYS[1] connector id
-- Returns the id, or nil if there is none.
-- What is neither read nor written for 30 days is of something that is gone. Half of that must have passed before it is put off again.
local function keep(key)
  if redis.call('PTTL', key) < 1296000000 then
    redis.call('PEXPIRE', key, '2592000000')
  end
end

local id = redis.call('GET', KEYS[1])
if id then
  keep(KEYS[1])
end
return id
