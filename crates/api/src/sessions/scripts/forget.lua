-- Removes an entry of an owner whose session is gone, unless it was entered anew meanwhile. An entry that is shared goes
-- only when all writes that entered it have come to their end: one of them may have made the session anew.
-- KEYS[1] the hash of the owner; see enter.lua
-- ARGV[4] the session  ARGV[5] token of the entry  ARGV[6] ms since it was written: the session may be on its way
-- ARGV[7] the same for an entry that is shared
-- Reply   {"forgotten" | "kept", time}
local value = redis.call('HGET', KEYS[1], ARGV[4])
local written, token, shared = string.match(value or '', '^1 (%d+) %d+ (%x+)(%s?%l*)$')
local age = tonumber(shared == '' and ARGV[6] or ARGV[7])
if token == ARGV[5] and tonumber(written) + age <= now then
  redis.call('HDEL', KEYS[1], ARGV[4])
  return { 'forgotten', digits(now) }
end
return { 'kept', digits(now) }
