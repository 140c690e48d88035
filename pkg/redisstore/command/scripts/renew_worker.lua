-- Renew the lease of a worker: all its slots live as long as it. A second process with the same id is refused while the first one lives.
-- KEYS[1] records hash (id -> body)   KEYS[2] deadlines sorted set (id by deadline in ms)
-- KEYS[3] instances hash (id -> "instance number")   KEYS[4] generation of the store   KEYS[5] inbox of the worker
-- KEYS[6] revisions hash (id -> "revision instance" of its record, and the highest revision of all under the empty id)
-- ARGV[1] id   ARGV[2] ttl in ms   ARGV[3] instance of the process   ARGV[4] version of the inbox that it knows, 0 for none
-- ARGV[5] body (JSON), empty if the stored one is still right   ARGV[6] number of its last renewal that was confirmed, 0 for none
-- ARGV[7] number of this renewal   ARGV[8] instance of a process that has ended for certain, and whose lease is not waited for; empty for none
-- Returns {"taken", deadline of the other process, its body} | {"unknown"} when the body has to be sent
-- | {"ok", "kept" or "lapsed" or "new", generation, version of the inbox, tunnel, ...}: the tunnels whose slots changed.
-- The generation changes when the store is found to have lost a renewal that it had confirmed.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local id, ttl, mine, body = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[5]
local confirmed, number = tonumber(ARGV[6]), tonumber(ARGV[7])

local stored = redis.call('HGET', KEYS[3], id) or ''
local instance, seen = string.match(stored, '^(%S+) (%d+)$')
local deadline = tonumber(redis.call('ZSCORE', KEYS[2], id) or '0') or 0
local own = instance == mine
if deadline > now and not own and (instance or stored == '') and not (instance and instance == ARGV[8]) then
  if deadline > now + ttl then -- by another clock: it must not keep the id for longer than a lease
    deadline = now + ttl
    redis.call('ZADD', KEYS[2], string.format('%.0f', deadline), id)
  end
  return {'taken', string.format('%.0f', deadline), redis.call('HGET', KEYS[1], id) or ''}
end
if body == '' and not (own and redis.call('HGET', KEYS[1], id)) then
  return {'unknown'}
end

local generation = tonumber(redis.call('GET', KEYS[4]) or '0') or 0
seen = own and tonumber(seen) or 0
-- Many workers that find the same loss begin one generation.
local lately = generation <= now and generation > now - 2000
if generation == 0 or seen < confirmed and not lately then
  generation = math.max(generation + 1, now)
  redis.call('SET', KEYS[4], string.format('%.0f', generation))
end
local state = 'new'
if own then
  state = deadline > now and 'kept' or 'lapsed'
end
redis.call('HSET', KEYS[3], id, mine .. ' ' .. string.format('%.0f', math.max(seen, number)))
redis.call('ZADD', KEYS[2], string.format('%.0f', now + ttl), id)
-- The supervisors read a record again when its revision is new to them.
local written = string.match(redis.call('HGET', KEYS[6], id) or '', '^%d+ (%S+)$')
if body ~= '' and (redis.call('HGET', KEYS[1], id) ~= body or written ~= mine) then
  redis.call('HSET', KEYS[1], id, body)
  local highest = tonumber(redis.call('HGET', KEYS[6], '') or '0') or 0
  local revision = string.format('%.0f', math.max(highest + 1, now))
  redis.call('HSET', KEYS[6], id, revision .. ' ' .. mine, '', revision)
end
-- What a process left is kept for a while, so that one that comes back is known again.
local keep = 600000
local dead = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', string.format('%.0f', now - keep), 'LIMIT', '0', '16')
for _, other in ipairs(dead) do
  redis.call('HDEL', KEYS[1], other)
  redis.call('ZREM', KEYS[2], other)
  redis.call('HDEL', KEYS[3], other)
  redis.call('HDEL', KEYS[6], other)
end
for _, i in ipairs({1, 2, 3, 6}) do
  if redis.call('PTTL', KEYS[i]) < ttl + keep then
    redis.call('PEXPIRE', KEYS[i], string.format('%.0f', ttl + 2 * keep))
  end
end

local version = redis.call('HGET', KEYS[5], 'version') or '0'
local reply = {'ok', state, string.format('%.0f', generation), version}
if version ~= ARGV[4] then
  local known = tonumber(ARGV[4])
  if (tonumber(version) or 0) < known then
    known = 0 -- the inbox was lost
  end
  local fields = redis.call('HGETALL', KEYS[5])
  for i = 1, #fields, 2 do
    if fields[i] ~= 'version' and (tonumber(fields[i + 1]) or now) > known then
      reply[#reply + 1] = fields[i]
    end
  end
end
return reply
