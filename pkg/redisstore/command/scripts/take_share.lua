-- Take or renew a share of a lead that several members have together. Each has a lease and a term of its own.
-- KEYS[1] lead hash
-- ARGV[1] member   ARGV[2] ttl in ms   ARGV[3] highest term that the caller has seen, 0 for none
-- ARGV[4] "1" when the caller may join other members, "0" when it only leads if nobody else does
-- ARGV[5] name of the holder that stands for all members: to versions that know one leader only, somebody else leads
-- Returns {"1" when the caller leads, else "0", its term, highest term before this call or "0", now in ms, deadline of its lease before this
-- call or "0", view, member, ...}: the members in order. When a version that knows one leader only leads, that is the only member, and term
-- and deadline are those of its lead.
-- The view grows with each change of the members, and then each of them gets a new term with its next renewal: no term has two members, nor
-- one member at two times with different others. A term is higher than all before: max(stored + 1, seen + 1, server time in ms).
-- What cannot be read counts as absent.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local me, latest, seen = ARGV[1], now + tonumber(ARGV[2]), tonumber(ARGV[3])
local function text(n)
  return string.format('%.0f', n)
end
-- What is neither read nor written for 30 days is of a role that is gone. Half of that must have passed before it is put off again.
local function keep(key)
  if redis.call('PTTL', key) < 1296000000 then
    redis.call('PEXPIRE', key, '2592000000')
  end
end

local stored, entries, names = {}, {}, {}
local fields = redis.call('HGETALL', KEYS[1])
for i = 1, #fields, 2 do
  local name = string.match(fields[i], '^m:(.+)$')
  if name then
    entries[name] = fields[i + 1]
    names[#names + 1] = name
  else
    stored[fields[i]] = fields[i + 1]
  end
end
table.sort(names)
local before, view = tonumber(stored.term or '0') or 0, tonumber(stored.view or '0') or 0
-- The first write comes before all else: to a supervisor that stands by, too, a store that can only be read is unavailable, since workers
-- cannot renew their leases there.
redis.call('HSET', KEYS[1], 'view', text(view))
local deadline = tonumber(stored.deadline or '0') or 0
local holder = stored.holder or ''
if holder ~= ARGV[5] and holder ~= '' and deadline > now then
  if deadline > latest then -- by another clock: it must not lead for longer than a lease
    redis.call('HSET', KEYS[1], 'deadline', text(latest))
  end
  return {'0', text(before), text(before), text(now), text(deadline), text(view), holder}
end

-- Who else is there. Its lease must not last for longer either.
local own, ended, members, changed = nil, '0', {}, holder ~= ARGV[5] or deadline <= now
for _, name in ipairs(names) do
  local till, term, of = string.match(entries[name], '^(%d+) (%d+) (%d+)$')
  till, term, of = tonumber(till or '0'), tonumber(term or '0'), tonumber(of or '0')
  if name == me and till > 0 then
    ended = text(till)
  end
  if till <= now then
    redis.call('HDEL', KEYS[1], 'm:' .. name)
    changed = true
  else
    if till > latest then
      redis.call('HSET', KEYS[1], 'm:' .. name, text(latest) .. ' ' .. text(term) .. ' ' .. text(of))
    end
    if name == me then
      own = {term = term, view = of}
    end
    members[#members + 1] = name
  end
end
local joins = not own and (ARGV[4] == '1' or #members == 0)
if changed or joins then
  view = view + 1
end
local leads, term = '1', before
if own or joins then
  if joins then
    members[#members + 1] = me
    table.sort(members)
    own = {term = 0, view = 0}
  end
  term = own.term
  if own.view ~= view or term < seen or term == 0 then
    term = math.max(before + 1, seen + 1, now)
  end
  redis.call('HSET', KEYS[1], 'holder', ARGV[5], 'deadline', text(latest), 'term', text(math.max(before, term)), 'view', text(view),
    'm:' .. me, text(latest) .. ' ' .. text(term) .. ' ' .. text(view))
  keep(KEYS[1])
else
  leads = '0'
  redis.call('HSET', KEYS[1], 'view', text(view))
end
local reply = {leads, text(term), text(before), text(now), ended, text(view)}
for _, name in ipairs(members) do
  reply[#reply + 1] = name
end
return reply
