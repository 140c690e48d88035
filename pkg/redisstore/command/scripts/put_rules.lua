-- Write the next version of a tunnel's configuration by compare-and-set.
-- KEYS[1] heads hash   KEYS[2] history hash of the tunnel
-- ARGV[1] tunnel   ARGV[2] number that the caller has seen, 0 for none   ARGV[3] head (JSON)   ARGV[4] number of the new version, 0 to ask
-- ARGV[5] push that it is made on top of   ARGV[6] document, sealed for this number and push   ARGV[7] number of versions to keep
-- Returns {"ok", number} | {"version", stored number} | {"next", number, push}: nothing was written, the document is to be sealed for these.
-- A number is never used twice, even if the newest write was lost: max(stored + 1, that of the last note + 1, highest that a proxy
-- reported + 1, server time in ms).
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local function stored(key, field)
  return tonumber(redis.call('HGET', key, field) or '0') or 0
end
local have = stored(KEYS[2], 'newest')
if have ~= tonumber(ARGV[2]) then
  return {'version', string.format('%.0f', have)}
end
local least = math.max(have, stored(KEYS[2], 'last'), stored(KEYS[2], 'floor')) + 1
local push = redis.call('HGET', KEYS[2], 'push') or '-1'
if tonumber(ARGV[4]) < least or ARGV[5] ~= push then
  return {'next', string.format('%.0f', math.max(least, now)), push}
end
local number = ARGV[4]
redis.call('HSET', KEYS[2], 'newest', number, number .. ':head', ARGV[3], number .. ':push', push,
  number .. ':changed', string.format('%.0f', now), number .. ':sealed', ARGV[6])
redis.call('HSET', KEYS[1], ARGV[1], number, 'version', string.format('%.0f', math.max(stored(KEYS[1], 'version') + 1, now)))
local kept = {}
for _, field in ipairs(redis.call('HKEYS', KEYS[2])) do
  local n = string.match(field, '^(%d+):head$')
  if n then
    kept[#kept + 1] = n
  end
end
table.sort(kept, function(a, b) return tonumber(a) < tonumber(b) end)
for i = 1, #kept - tonumber(ARGV[7]) do
  redis.call('HDEL', KEYS[2], kept[i] .. ':head', kept[i] .. ':push', kept[i] .. ':changed', kept[i] .. ':sealed')
end
return {'ok', number}
