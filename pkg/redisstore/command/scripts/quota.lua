-- Renew the share of a process in the limit of a tunnel: package quota has the rule, in Go.
-- KEYS[1] hash of the limit
-- ARGV[1] process   ARGV[2] sequence number   ARGV[3] limit   ARGV[4] held   ARGV[5] used   ARGV[6] want
-- ARGV[7] ms until a new table has settled   ARGV[8] ms after which the unused rest goes back   ARGV[9] ms after which all of it does
-- Returns {share, number of processes, 1 if it is less than the process could get, ms of the server's time}.
-- A record is "seq held used want ms".
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local me, limit = ARGV[1], tonumber(ARGV[3])
local mine, wanted = tonumber(ARGV[4]), tonumber(ARGV[6])
local held, reserved, known, count = 0, 0, nil, 1
local wants = {{me, wanted}}
local fields = redis.call('HGETALL', KEYS[1])
local since = nil
local others = 0
for i = 1, #fields, 2 do
  local name, text = fields[i], fields[i + 1]
  if name == 'since' then
    since = tonumber(text)
  else
    local seq, h, u, w, ms = string.match(text, '^(%d+) (%d+) (%d+) (%d+) (%d+)$')
    local age = ms and now - tonumber(ms)
    if not ms or age >= tonumber(ARGV[9]) then
      redis.call('HDEL', KEYS[1], name)
    elseif name == me then
      known = {tonumber(seq), h}
      others = others + 1
    else
      others, count = others + 1, count + 1
      if age >= tonumber(ARGV[8]) then
        held, reserved = held + tonumber(u), reserved + tonumber(u)
      else
        held = held + tonumber(h)
        wants[#wants + 1] = {name, tonumber(w)}
      end
    end
  end
end
if known and known[1] >= tonumber(ARGV[2]) then
  return {known[2], tostring(count), '0', string.format('%.0f', now)}
end
if others == 0 or not since then
  since = now
  redis.call('HSET', KEYS[1], 'since', string.format('%.0f', now))
end
table.sort(wants, function(a, b)
  if a[2] ~= b[2] then
    return a[2] < b[2]
  end
  return a[1] < b[1]
end)
local left, n = math.max(0, limit - reserved), #wants
local target, at = 0, 0
for i, w in ipairs(wants) do
  local got = math.min(w[2], math.floor(left / (n - i + 1)))
  left = left - got
  if w[1] == me then
    target, at = got, i - 1
  end
end
target = target + math.floor(left / n)
if at < left % n then
  target = target + 1
end
local share = target
if target > mine then
  local free = math.max(0, limit - held - mine)
  if now - since < tonumber(ARGV[7]) then
    free = 0
  end
  share = mine + math.min(target - mine, free)
end
redis.call('HSET', KEYS[1], me,
  string.format('%s %.0f %s %s %.0f', ARGV[2], math.max(mine, share), ARGV[5], ARGV[6], now))
redis.call('PEXPIRE', KEYS[1], 2 * tonumber(ARGV[9]))
local short = '0'
if share < target then
  short = '1'
end
return {string.format('%.0f', share), tostring(count), short, string.format('%.0f', now)}
