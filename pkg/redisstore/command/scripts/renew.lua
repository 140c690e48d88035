-- Renew a worker's leases of one connector and write what it reports; one call for all its slots.
-- KEYS[1] slots hash   KEYS[2] proved record
-- ARGV[1] worker   ARGV[2] lease ttl in ms   ARGV[3] proved ttl in ms
-- then five for each report: index, epoch, "1" when connected else "0", retries, status (JSON)
-- Returns {now in ms, field, value, ...} for all slots of the connector.
-- A report with another epoch or by another worker changes nothing: the slots in the reply show the newer epoch. A lease that had
-- expired lives again unless another live slot took its edge address meanwhile.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local stored = {}
local reply = redis.call('HGETALL', KEYS[1])
for i = 1, #reply, 2 do
  stored[reply[i]] = reply[i + 1]
end

local function taken(slot)
  for field, address in pairs(stored) do
    local index = string.match(field, '^(%d+):edge$')
    if index and index ~= slot and address == stored[slot .. ':edge'] and
      tonumber(stored[index .. ':deadline'] or '0') > now then
      return true
    end
  end
  return false
end

local changed, proved = false, false
for i = 4, #ARGV, 5 do
  local slot = ARGV[i]
  local live = tonumber(stored[slot .. ':deadline'] or '0') > now
  if stored[slot .. ':epoch'] == ARGV[i + 1] and stored[slot .. ':worker'] == ARGV[1] and (live or not taken(slot)) then
    local retries = math.max(tonumber(ARGV[i + 3]), tonumber(stored[slot .. ':retries'] or '0'))
    if ARGV[i + 2] == '1' then
      retries, proved = 0, true
    end
    local deadline = string.format('%.0f', now + tonumber(ARGV[2]))
    stored[slot .. ':deadline'] = deadline
    redis.call('HSET', KEYS[1],
      slot .. ':deadline', deadline,
      slot .. ':renewed', string.format('%.0f', now),
      slot .. ':retries', string.format('%.0f', retries),
      slot .. ':status', ARGV[i + 4])
    changed = true
  end
end
if proved then
  redis.call('SET', KEYS[2], string.format('%.0f', now + tonumber(ARGV[3])), 'PX', ARGV[3])
end
if changed then
  reply = redis.call('HGETALL', KEYS[1])
end
table.insert(reply, 1, string.format('%.0f', now))
return reply
