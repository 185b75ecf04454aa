-- Removes an entry of an owner whose session is gone, unless it was entered anew meanwhile.
-- KEYS[1] the hash of the owner
-- ARGV[4] the session  ARGV[5] token of the entry  ARGV[6] ms since it was written: the session may be on its way
-- Reply   {"forgotten" | "kept", time}
local value = redis.call('HGET', KEYS[1], ARGV[4])
local written, token
if value then
  written, token = string.match(value, '^1 (%d+) %d+ (%x+)$')
end
if token == ARGV[5] and tonumber(written) + tonumber(ARGV[6]) <= now then
  redis.call('HDEL', KEYS[1], ARGV[4])
  return { 'forgotten', digits(now) }
end
return { 'kept', digits(now) }
