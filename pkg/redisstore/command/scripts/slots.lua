-- Read all slots of a connector together with the time. A leader reads under its term, which raises the connector's fence: from then on
-- the grants of former leaders are refused.
-- KEYS[1] slots hash   KEYS[2] fence of the connector, for a leader
-- ARGV[1] term, for a leader
-- Returns {now in ms, field, value, ...}; the fields are described in keys.go | {"term", term of a newer leader}.
local time = redis.call('TIME')
-- What is neither read nor written for 30 days is of something that is gone. Half of that must have passed before it is put off again.
local function keep(key)
  if redis.call('PTTL', key) < 1296000000 then
    redis.call('PEXPIRE', key, '2592000000')
  end
end

if KEYS[2] then
  local fence = tonumber(redis.call('GET', KEYS[2]) or '0') or 0
  if fence > tonumber(ARGV[1]) then
    return {'term', string.format('%.0f', fence)}
  end
  if fence < tonumber(ARGV[1]) then
    redis.call('SET', KEYS[2], ARGV[1])
  end
  keep(KEYS[1])
  keep(KEYS[2])
end
local reply = redis.call('HGETALL', KEYS[1])
table.insert(reply, 1, string.format('%.0f', tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)))
return reply
