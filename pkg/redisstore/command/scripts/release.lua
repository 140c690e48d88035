-- Free a slot, if the caller holds it. The epoch stays: it only grows.
-- KEYS[1] slots hash   KEYS[2] fence of the connector, for a leader
-- ARGV[1] index   ARGV[2] worker   ARGV[3] epoch   ARGV[4] term, for a leader
-- Returns "ok" (also when it is free already) | "fenced" (a newer epoch, or another worker)
-- | "absent" (never granted, or the grant was lost) | "term N" (a leader with the newer term N is in charge).
-- A worker may release its slot with a higher epoch than the stored one: it had that epoch before the store lost it. The epoch becomes
-- that one, so that the next grant is newer than all that the worker has seen.
if KEYS[2] then
  local fence = tonumber(redis.call('GET', KEYS[2]) or '0') or 0
  if fence > tonumber(ARGV[4]) then
    return 'term ' .. string.format('%.0f', fence)
  end
end
local slot = ARGV[1]
local stored = redis.call('HMGET', KEYS[1], slot .. ':epoch', slot .. ':worker')
local have, epoch = tonumber(stored[1] or '0') or 0, tonumber(ARGV[3])
if not stored[1] or have < epoch and stored[2] ~= ARGV[2] then
  return 'absent'
end
if have > epoch then
  return 'fenced'
end
if stored[2] == '' then
  return 'ok'
end
if stored[2] ~= ARGV[2] then
  return 'fenced'
end
redis.call('HSET', KEYS[1], slot .. ':epoch', string.format('%.0f', epoch), slot .. ':worker', '', slot .. ':deadline', '0', slot .. ':status', '',
  slot .. ':former', ARGV[2])
return 'ok'
