-- Read the numbers of the newest configurations of all tunnels, unless the caller has them already.
-- KEYS[1] heads hash
-- ARGV[1] version that the caller knows, 0 for none
-- Returns {"same", version} | {"all", version, then for each tunnel: tunnel, number}.
local version = redis.call('HGET', KEYS[1], 'version') or '0'
if version == ARGV[1] then
  return {'same', version}
end
local reply = {'all', version}
local fields = redis.call('HGETALL', KEYS[1])
for i = 1, #fields, 2 do
  if fields[i] ~= 'version' then
    reply[#reply + 1] = fields[i]
    reply[#reply + 1] = fields[i + 1]
  end
end
return reply
