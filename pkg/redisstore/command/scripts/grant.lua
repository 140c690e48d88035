-- Give a slot to a worker under a new epoch.
-- KEYS[1] slots hash   KEYS[2] registration bucket of the connector   KEYS[3] fence of the connector
-- ARGV[1] index        ARGV[2] worker        ARGV[3] edge address   ARGV[4] region   ARGV[5] protocol
-- ARGV[6] the epoch that the caller has seen, 0 for a slot that was never granted
-- ARGV[7] lease ttl in ms   ARGV[8] wait in ms that the caller requests   ARGV[9] status (JSON)
-- ARGV[10] bucket interval in ms   ARGV[11] bucket burst   ARGV[12] longest wait in ms that the bucket may cause
-- ARGV[13] term of the lead under which the caller decided, 0 for none
-- ARGV[14] instance of the worker, empty for one without a lease of its own
-- ARGV[15] command of an operator that the grant carries out, empty for none
-- ARGV[16] highest epoch of the slot that the caller has ever seen, 0 for none
-- then two for each slot whose worker's lease has ended: index, epoch. Such a slot is not live any more.
-- Returns {"ok", epoch, wait in ms} | {"epoch", stored epoch} | {"address", index that holds the edge address}
-- | {"term", term of a newer leader}.
-- The epoch grows even if the newest grant was lost: max(stored + 1, seen + 1, server time in ms). What the caller has seen counts when the
-- clock went back, too, as after a failover to a server whose clock is late.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

-- What is neither read nor written for 30 days is of something that is gone. Half of that must have passed before it is put off again.
local function keep(key)
  if redis.call('PTTL', key) < 1296000000 then
    redis.call('PEXPIRE', key, '2592000000')
  end
end

-- A leader that has read this connector has raised the fence to its term.
local fence = tonumber(redis.call('GET', KEYS[3]) or '0') or 0
if fence > tonumber(ARGV[13]) then
  return {'term', string.format('%.0f', fence)}
end

local slot = ARGV[1]
local stored = redis.call('HGET', KEYS[1], slot .. ':epoch') or '0'
if not tonumber(stored) then
  stored = '0' -- cannot be read: the grant writes the whole record anew
end
if tonumber(stored) ~= tonumber(ARGV[6]) then
  return {'epoch', stored}
end

-- Two live slots of one connector never share an edge address.
local fields = redis.call('HGETALL', KEYS[1])
local edge, deadline = {}, {}
for i = 1, #fields, 2 do
  local index, name = string.match(fields[i], '^(%d+):(%a+)$')
  if name == 'edge' then
    edge[index] = fields[i + 1]
  elseif name == 'deadline' then
    deadline[index] = tonumber(fields[i + 1])
  end
end
for i = 17, #ARGV - 1, 2 do
  local index = ARGV[i]
  if deadline[index] and deadline[index] > now and redis.call('HGET', KEYS[1], index .. ':epoch') == ARGV[i + 1] then
    deadline[index] = 0
    redis.call('HSET', KEYS[1], index .. ':deadline', '0')
  end
end
for index, address in pairs(edge) do
  if index ~= slot and address == ARGV[3] and (deadline[index] or 0) > now then
    return {'address', index}
  end
end

-- The worker that has to learn that it is not the holder any more, if it learns only what it is told.
local former = ''
local of, instance = string.match(redis.call('HGET', KEYS[1], slot .. ':instance') or '', '^(%d+)/(.*)$')
local holder = redis.call('HGET', KEYS[1], slot .. ':worker') or ''
if of == stored and not (holder == ARGV[2] and instance == ARGV[14]) then
  former = holder
end

-- Grants since the last connection: a slot that never connects counts as failing, wherever its holders end.
local starts = (tonumber(redis.call('HGET', KEYS[1], slot .. ':starts') or '0') or 0) + 1

-- The bucket is the time at which it is full again; it grows by one interval per grant.
local interval, burst, longest = tonumber(ARGV[10]), tonumber(ARGV[11]), tonumber(ARGV[12])
local full = math.max(tonumber(redis.call('GET', KEYS[2]) or '0') or 0, now)
local start = math.max(now, full - (burst - 1) * interval)
if start > now + longest then
  start = now + longest
else
  full = full + interval
end
redis.call('SET', KEYS[2], string.format('%.0f', full), 'PX', string.format('%.0f', full - now + 60000))

start = math.max(start, now + tonumber(ARGV[8]))
local epoch = string.format('%.0f', math.max(tonumber(stored) + 1, tonumber(ARGV[16]) + 1, now))
redis.call('HSET', KEYS[1],
  slot .. ':epoch', epoch,
  slot .. ':deadline', string.format('%.0f', now + tonumber(ARGV[7])),
  slot .. ':renewed', string.format('%.0f', now),
  slot .. ':start', string.format('%.0f', start),
  slot .. ':worker', ARGV[2],
  slot .. ':edge', ARGV[3],
  slot .. ':region', ARGV[4],
  slot .. ':protocol', ARGV[5],
  slot .. ':starts', string.format('%.0f', starts),
  slot .. ':instance', ARGV[14] ~= '' and epoch .. '/' .. ARGV[14] or '',
  slot .. ':former', former,
  slot .. ':status', ARGV[9])
keep(KEYS[1])
if ARGV[15] ~= '' then -- it counts under this epoch alone
  redis.call('HSET', KEYS[1], slot .. ':command', epoch .. '/' .. ARGV[15])
end
return {'ok', epoch, string.format('%.0f', start - now)}
