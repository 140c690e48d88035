-- Change the document of a subject by compare-and-set, or give it back to a store that lost it.
-- KEYS[1] documents hash
-- ARGV[1] subject   ARGV[2] version that the caller has seen, 0 for none   ARGV[3] body (JSON)
-- ARGV[4] "1" when the pool changes   ARGV[5] version to give back, 0 for a change   ARGV[6] version of its pool, with it
-- Returns {"ok", version} | {"version", stored version}.
-- The version grows even if the newest write was lost: max(stored + 1, server time in ms). One that is given back replaces an older one only.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local function stored(field)
  return tonumber(redis.call('HGET', KEYS[1], field) or '0') or 0
end
local subject, back = ARGV[1], tonumber(ARGV[5])
local have, all = stored(subject .. ':version'), stored('version')
if back > 0 then
  if have >= back then
    return {'version', string.format('%.0f', have)}
  end
  redis.call('HSET', KEYS[1], subject .. ':version', ARGV[5], subject .. ':body', ARGV[3], subject .. ':pool', ARGV[6],
    subject .. ':changed', string.format('%.0f', now), 'version', string.format('%.0f', math.max(all + 1, back, now)))
  return {'ok', ARGV[5]}
end
if have ~= tonumber(ARGV[2]) then
  return {'version', string.format('%.0f', have)}
end
-- What desires nothing any more is removed after 30 days, with the next change of another subject.
local fields = redis.call('HGETALL', KEYS[1])
for i = 1, #fields, 2 do
  local other = string.match(fields[i], '^(.+):body$')
  local body = fields[i + 1]
  if other and other ~= subject and (body == '{}' or string.match(body, '^{"author":"[^"\\]*"}$'))
    and stored(other .. ':changed') < now - 2592000000 then
    redis.call('HDEL', KEYS[1], other .. ':body', other .. ':version', other .. ':changed', other .. ':pool', other .. ':former')
  end
end
local version = string.format('%.0f', math.max(all + 1, have + 1, now))
local former = redis.call('HGET', KEYS[1], subject .. ':body')
redis.call('HSET', KEYS[1], 'version', version, subject .. ':version', version, subject .. ':body', ARGV[3],
  subject .. ':changed', string.format('%.0f', now))
if former then
  redis.call('HSET', KEYS[1], subject .. ':former', former)
end
if ARGV[4] == '1' then
  redis.call('HSET', KEYS[1], subject .. ':pool', version)
end
return {'ok', version}
