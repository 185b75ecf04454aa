-- Makes sure that it is known since when the store remembers nonces, before the first of them comes.
-- KEYS[1] what says so
-- ARGV[1] what is said if nothing is, or something that makes no sense, in unix ms  ARGV[2] the latest that makes sense
-- Reply   since when, in unix ms
-- It is to stay; and a store that is full refuses nothing after a write that needs no memory.
redis.call('PERSIST', KEYS[1])
local since = remembers_since(KEYS[1], ARGV[2])
if not since then
  since = tonumber(ARGV[1])
  redis.call('SET', KEYS[1], digits(since))
end
return digits(since)
