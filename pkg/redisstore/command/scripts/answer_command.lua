-- Write the result of a command, if it has none, or only read it.
-- KEYS[1] documents hash   KEYS[2] commands hash
-- ARGV[1] id   ARGV[2] outcome, empty to read   ARGV[3] detail
-- Returns {outcome, detail, remaining ms, body} | {"absent"}. The first result stays.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local id = ARGV[1]
local stored = redis.call('HMGET', KEYS[2], id .. ':body', id .. ':deadline', id .. ':result')
if not stored[1] then
  return {'absent'}
end
local result = stored[3]
if not result and ARGV[2] ~= '' then
  result = ARGV[2] .. ' ' .. ARGV[3]
  redis.call('HSET', KEYS[2], id .. ':result', result)
  local version = tonumber(redis.call('HGET', KEYS[1], 'version') or '0') or 0
  redis.call('HSET', KEYS[1], 'version', string.format('%.0f', math.max(version + 1, now)))
end
local rest = (tonumber(stored[2] or '0') or 0) - now
local outcome, detail = string.match(result or '', '^(%a+) (.*)$')
if not outcome then
  outcome, detail = rest > 0 and 'pending' or 'expired', ''
end
return {outcome, detail, string.format('%.0f', math.max(rest, 0)), stored[1]}
