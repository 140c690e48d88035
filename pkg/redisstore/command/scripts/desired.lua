-- Read all that operators desire, unless the caller has it already.
-- KEYS[1] documents hash   KEYS[2] commands hash
-- ARGV[1] version that the caller knows, 0 for none
-- Returns {"same", version} | {"all", version, then six for each subject in order: subject, version, version of its pool, time of the change
-- in ms, body (JSON), former body}. A command that waits is the subject command/<id>: remaining ms instead of the version, "0" for the pool,
-- its time, body, "".
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local version = redis.call('HGET', KEYS[1], 'version') or '0'
if version == ARGV[1] then
  return {'same', version}
end

local function entries(key)
  local names, found = {}, {}
  local fields = redis.call('HGETALL', key)
  for i = 1, #fields, 2 do
    local subject, name = string.match(fields[i], '^(.+):(%a+)$')
    if subject then
      if not found[subject] then
        found[subject] = {}
        names[#names + 1] = subject
      end
      found[subject][name] = fields[i + 1]
    end
  end
  table.sort(names)
  return names, found
end

local reply = {'all', version}
local function add(...)
  for _, word in ipairs({...}) do
    reply[#reply + 1] = word
  end
end
local names, found = entries(KEYS[1])
for _, subject in ipairs(names) do
  local e = found[subject]
  add(subject, e.version or '0', e.pool or '0', e.changed or '0', e.body or '', e.former or '')
end
names, found = entries(KEYS[2])
for _, id in ipairs(names) do
  local e = found[id]
  local rest = (tonumber(e.deadline or '0') or 0) - now
  if not e.result and rest > 0 then
    add('command/' .. id, string.format('%.0f', rest), '0', e.created or '0', e.body or '', '')
  end
end
return reply
