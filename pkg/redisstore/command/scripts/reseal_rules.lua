-- Replace the sealed form of the document of a version by one under another key.
-- KEYS[1] history hash of the tunnel
-- ARGV[1] number of the version or note   ARGV[2] sealed document that the caller has read   ARGV[3] the same document, sealed anew
-- Returns "ok" | "changed": the version is gone or has another document.
for _, field in ipairs({ARGV[1] .. ':sealed', 'n' .. ARGV[1] .. ':sealed'}) do
  if redis.call('HGET', KEYS[1], field) == ARGV[2] then
    redis.call('HSET', KEYS[1], field, ARGV[3])
    return 'ok'
  end
end
return 'changed'
