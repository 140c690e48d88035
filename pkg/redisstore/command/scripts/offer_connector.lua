-- Write the connector id of a tunnel, if it has none or one that cannot be read.
-- KEYS[1] connector id
-- ARGV[1] id
-- Returns 1 when it was written, 0 when there is one.
-- It ends when it is not read for 30 days.
local digits = redis.call('GET', KEYS[1]) or ''
if string.match(digits, '^........%-....%-....%-....%-............$') then
  digits = string.gsub(digits, '-', '')
end
if #digits == 32 and string.match(digits, '^%x+$') then
  return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', '2592000000')
return 1
