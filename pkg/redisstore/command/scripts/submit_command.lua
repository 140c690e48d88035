-- Write a command for the supervisors, once. The same command again gives its result.
-- KEYS[1] documents hash   KEYS[2] commands hash
-- ARGV[1] id   ARGV[2] body (JSON)   ARGV[3] ttl in ms   ARGV[4] ms for which a result is kept   ARGV[5] tunnel
-- ARGV[6] most commands that may wait; four times as many are kept with their results   ARGV[7] most that may wait of one tunnel
-- Returns {outcome, detail, remaining ms, body} | {"other"} when the id is that of another command | {"full", number that are kept}.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local id, keep = ARGV[1], tonumber(ARGV[4])

local ids, found = {}, {}
local fields = redis.call('HGETALL', KEYS[2])
for i = 1, #fields, 2 do
  local other, name = string.match(fields[i], '^(.+):(%a+)$')
  if other then
    if not found[other] then
      found[other] = {}
      ids[#ids + 1] = other
    end
    found[other][name] = fields[i + 1]
  end
end
local known = found[id]
if known and known.body then
  if known.body ~= ARGV[2] then
    return {'other'}
  end
  local rest = (tonumber(known.deadline or '0') or 0) - now
  local outcome, detail = string.match(known.result or '', '^(%a+) (.*)$')
  if not outcome then
    outcome, detail = rest > 0 and 'pending' or 'expired', ''
  end
  return {outcome, detail, string.format('%.0f', math.max(rest, 0)), known.body}
end

local waiting, same, kept = 0, 0, 0
for _, other in ipairs(ids) do
  local e = found[other]
  local rest = (tonumber(e.deadline or '0') or 0) - now
  if rest + keep < 0 then
    for name in pairs(e) do
      redis.call('HDEL', KEYS[2], other .. ':' .. name)
    end
  else
    kept = kept + 1
    if rest > 0 and not e.result then
      waiting = waiting + 1
      if e.tunnel == ARGV[5] then
        same = same + 1
      end
    end
  end
end
if waiting >= tonumber(ARGV[6]) or kept >= 4 * tonumber(ARGV[6]) or same >= tonumber(ARGV[7]) then
  return {'full', string.format('%.0f', kept)}
end
redis.call('HSET', KEYS[2], id .. ':body', ARGV[2], id .. ':tunnel', ARGV[5], id .. ':created', string.format('%.0f', now),
  id .. ':deadline', string.format('%.0f', now + tonumber(ARGV[3])))
local ends = tonumber(ARGV[3]) + 2 * keep
if redis.call('PTTL', KEYS[2]) < ends then
  redis.call('PEXPIRE', KEYS[2], string.format('%.0f', ends))
end
local version = tonumber(redis.call('HGET', KEYS[1], 'version') or '0') or 0
redis.call('HSET', KEYS[1], 'version', string.format('%.0f', math.max(version + 1, now)))
return {'pending', '', ARGV[3], ARGV[2]}
