-- Read the versions of a tunnel's configuration, and what became of them.
-- KEYS[1] history hash of the tunnel
-- ARGV[1] number of the version whose document is wanted: 0 for the newest, empty for none
-- Returns {push, then six for each entry: "version", number, push that it was made on top of, ms of its time, head (JSON), sealed document}.
-- A note has the same words as a version, with "note" for "version". The result of a proxy is "result", proxy, "", ms of its time, result (JSON), "".
local reply = {redis.call('HGET', KEYS[1], 'push') or '-1'}
local wanted = ARGV[1]
if wanted == '0' then
  wanted = redis.call('HGET', KEYS[1], 'newest') or ''
end
local fields = redis.call('HKEYS', KEYS[1])
table.sort(fields)
for _, field in ipairs(fields) do
  local n, note = string.match(field, '^(%d+):head$'), string.match(field, '^n(%d+):head$')
  local proxy = string.match(field, '^result/(.*)$')
  local entry
  if n then
    local v = redis.call('HMGET', KEYS[1], n .. ':push', n .. ':changed', n .. ':head')
    entry = {'version', n, v[1] or '', v[2] or '', v[3] or '', ''}
    if n == wanted then
      entry[6] = redis.call('HGET', KEYS[1], n .. ':sealed') or ''
    end
  elseif note then
    local v = redis.call('HMGET', KEYS[1], field, 'n' .. note .. ':push', 'n' .. note .. ':changed')
    entry = {'note', note, v[2] or '', v[3] or '', v[1] or '', ''}
    if note == wanted then
      entry[6] = redis.call('HGET', KEYS[1], 'n' .. note .. ':sealed') or ''
    end
  elseif proxy then
    local ms, text = string.match(redis.call('HGET', KEYS[1], field), '^(%d+) (.*)$')
    entry = {'result', proxy, '', ms or '', text or '', ''}
  end
  for _, word in ipairs(entry or {}) do
    reply[#reply + 1] = word
  end
end
return reply
