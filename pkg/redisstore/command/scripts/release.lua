-- Free a slot, if the caller holds it. The epoch stays: it only grows.
-- KEYS[1] slots hash
-- ARGV[1] index   ARGV[2] worker   ARGV[3] epoch
-- Returns "ok" (also when it is free already) | "fenced" (a newer epoch, or another worker)
-- | "absent" (never granted, or the grant was lost).
local slot = ARGV[1]
local stored = redis.call('HMGET', KEYS[1], slot .. ':epoch', slot .. ':worker')
if not stored[1] or tonumber(stored[1]) < tonumber(ARGV[3]) then
  return 'absent'
end
if tonumber(stored[1]) > tonumber(ARGV[3]) then
  return 'fenced'
end
if stored[2] == '' then
  return 'ok'
end
if stored[2] ~= ARGV[2] then
  return 'fenced'
end
redis.call('HSET', KEYS[1], slot .. ':worker', '', slot .. ':deadline', '0', slot .. ':status', '')
return 'ok'
