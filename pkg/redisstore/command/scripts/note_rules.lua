-- Note a configuration that did not come through the store, such as one of a file or a push: once for each that is the same.
-- KEYS[1] history hash of the tunnel
-- ARGV[1] what tells it apart (source/push/hash)   ARGV[2] version of the edge's push that it is, -1 for none   ARGV[3] head (JSON)
-- ARGV[4] sealed document, empty to ask whether it is known   ARGV[5] number of notes to keep
-- Returns {"ok", number}, with the number that it has or got | {"unknown", "0"}.
-- It gets a number in the order of all, and changes neither which version is the newest nor what proxies follow.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local function stored(field)
  return tonumber(redis.call('HGET', KEYS[1], field) or '0') or 0
end
local known = redis.call('HGET', KEYS[1], 'note/' .. ARGV[1])
if known and redis.call('HGET', KEYS[1], 'n' .. known .. ':head') then
  return {'ok', known}
end
if ARGV[4] == '' then
  return {'unknown', '0'}
end
local number = string.format('%.0f', math.max(stored('last') + 1, stored('newest') + 1, stored('floor') + 1, now))
redis.call('HSET', KEYS[1], 'last', number, 'note/' .. ARGV[1], number, 'n' .. number .. ':head', ARGV[3], 'n' .. number .. ':push', ARGV[2],
  'n' .. number .. ':changed', string.format('%.0f', now), 'n' .. number .. ':sealed', ARGV[4], 'n' .. number .. ':key', ARGV[1])
local kept = {}
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
  local n = string.match(field, '^n(%d+):head$')
  if n then
    kept[#kept + 1] = n
  end
end
table.sort(kept, function(a, b) return tonumber(a) < tonumber(b) end)
for i = 1, #kept - tonumber(ARGV[5]) do
  local n = 'n' .. kept[i]
  redis.call('HDEL', KEYS[1], 'note/' .. (redis.call('HGET', KEYS[1], n .. ':key') or ''), n .. ':head', n .. ':push', n .. ':changed',
    n .. ':sealed', n .. ':key')
end
return {'ok', number}
