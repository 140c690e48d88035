-- Renew a worker's leases of one connector and write what it reports of them; one call for all its slots.
-- KEYS[1] slots hash   KEYS[2] proved record
-- ARGV[1] worker   ARGV[2] lease ttl in ms   ARGV[3] proved ttl in ms   ARGV[4] instance of the worker, empty for one without a lease of
-- its own
-- then nine for each report: index, epoch, "1" when connected else "0", retries, status (JSON), edge address, region, protocol,
-- ms that the edge asked the slot to stay away
-- Returns {now in ms, field, value, ...} for all slots of the connector, and the field "claimed" with the number of claims if there are any.
-- A report with an older epoch, or with the stored one by another worker, changes nothing: the slots in the reply show the newer epoch.
-- A report with a higher epoch than the stored one claims the slot: the store lost that grant. For equal epochs of two workers the one
-- that is connected has the slot. A lease that had expired lives again, and a claim is accepted, unless another live slot has the edge address.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local stored = {}
local reply = redis.call('HGETALL', KEYS[1])
for i = 1, #reply, 2 do
  stored[reply[i]] = reply[i + 1]
end

-- What is neither read nor written for 30 days is of something that is gone. Half of that must have passed before it is put off again.
local function keep(key)
  if redis.call('PTTL', key) < 1296000000 then
    redis.call('PEXPIRE', key, '2592000000')
  end
end

-- What cannot be read counts as 0.
local function number(field)
  return tonumber(stored[field] or '0') or 0
end

-- users are the live slots by their edge address; made when a lease has to be checked.
local users
local function use(slot, address, n)
  if address then
    local list = users[address] or {}
    list[slot] = n
    users[address] = list
  end
end
local function taken(slot, address)
  if not users then
    users = {}
    for field, edge in pairs(stored) do
      local index = string.match(field, '^(%d+):edge$')
      if index and number(index .. ':deadline') > now then
        use(index, edge, true)
      end
    end
  end
  for index in pairs(users[address] or {}) do
    if index ~= slot then
      return true
    end
  end
  return false
end

-- right says whether the report gets the slot, and whether it claims it.
local function right(slot, epoch, connected, address, complete)
  local have, worker = number(slot .. ':epoch'), stored[slot .. ':worker']
  local claim = epoch > have
  if epoch < have or claim and not complete then
    return false, false
  end
  -- Another process with the same id is another worker.
  local instance = string.match(stored[slot .. ':instance'] or '', '^(%d+)/')
  local other = instance == string.format('%.0f', have) and stored[slot .. ':instance'] ~= instance .. '/' .. ARGV[4]
  if other and not claim and worker == ARGV[1] then
    return false, false
  end
  if not claim and worker ~= ARGV[1] then
    local up = string.find(stored[slot .. ':status'] or '', '{"state":"connected"', 1, true) == 1
    if not connected or not complete or up or not worker or worker == '' then
      return false, false
    end
    claim = true
  end
  if (claim or number(slot .. ':deadline') <= now) and taken(slot, address) then
    return false, false
  end
  return true, claim
end

local claimed, proved, changed = 0, false, false
local deadline = string.format('%.0f', now + tonumber(ARGV[2]))
for i = 5, #ARGV, 9 do
  local slot, epoch, connected, address = ARGV[i], tonumber(ARGV[i + 1]), ARGV[i + 2] == '1', ARGV[i + 5]
  if address == '' then -- a report without an address cannot claim
    address = stored[slot .. ':edge'] or ''
  end
  local ok, claim = right(slot, epoch, connected, address, ARGV[i + 5] ~= '')
  if ok then
    local retries = math.max(tonumber(ARGV[i + 3]), number(slot .. ':retries'))
    if connected then
      retries, proved = 0, true
    end
    local fields = {
      slot .. ':deadline', deadline,
      slot .. ':renewed', string.format('%.0f', now),
      slot .. ':retries', string.format('%.0f', retries),
      slot .. ':status', ARGV[i + 4]}
    local function set(name, value)
      if stored[slot .. name] ~= value then
        fields[#fields + 1] = slot .. name
        fields[#fields + 1] = value
      end
    end
    set(':epoch', string.format('%.0f', epoch))
    set(':worker', ARGV[1])
    set(':instance', ARGV[4] ~= '' and string.format('%.0f', epoch) .. '/' .. ARGV[4] or '')
    if ARGV[i + 5] ~= '' then
      set(':edge', address)
      set(':region', ARGV[i + 6])
      set(':protocol', ARGV[i + 7])
    end
    if not tonumber(stored[slot .. ':start']) then
      set(':start', string.format('%.0f', now))
    end
    if connected and stored[slot .. ':starts'] then
      set(':starts', '0')
    end
    if ARGV[i + 8] ~= '0' then
      set(':hold', string.format('%.0f', now + tonumber(ARGV[i + 8])))
    elseif stored[slot .. ':hold'] and connected then
      set(':hold', '0')
    end
    redis.call('HSET', KEYS[1], unpack(fields))
    if users and stored[slot .. ':edge'] then
      use(slot, stored[slot .. ':edge'], nil)
    end
    for j = 1, #fields, 2 do
      stored[fields[j]] = fields[j + 1]
    end
    if users then
      use(slot, address, true)
    end
    if claim then
      claimed = claimed + 1
    end
    changed = true
  end
end
if proved then
  redis.call('SET', KEYS[2], string.format('%.0f', now + tonumber(ARGV[3])), 'PX', ARGV[3])
end
keep(KEYS[1])
if changed then
  reply = redis.call('HGETALL', KEYS[1])
end
table.insert(reply, 1, string.format('%.0f', now))
if claimed > 0 then
  reply[#reply + 1] = 'claimed'
  reply[#reply + 1] = string.format('%.0f', claimed)
end
return reply
