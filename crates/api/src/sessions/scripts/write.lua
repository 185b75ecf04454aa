-- Writes a whole session.
-- ARGV[4] versions of which the one that is there must be  ARGV[5] versions of which it must not be
-- ARGV[6] version  ARGV[7] value  ARGV[8] type  ARGV[9] owner  ARGV[10] token of its entry among the owner's
-- ARGV[11] idle ms  ARGV[12] sliding  ARGV[13] absolute end: "+" and ms from now, or unix ms
-- ARGV[14] end in unix ms, or "": idle ms from now
-- Reply   {"unmet", time} or {"created" | "replaced", time, absolute end, end, owner before, token before}
if unmet(ARGV[4], ARGV[5]) then
  return { 'unmet', digits(now) }
end
local absolute = tonumber(ARGV[13])
if string.sub(ARGV[13], 1, 1) == '+' then
  absolute = now + absolute
end
local expires = now + tonumber(ARGV[11])
if ARGV[14] ~= '' then
  expires = tonumber(ARGV[14])
end
expires = math.min(expires, absolute)
redis.call('HSET', KEYS[1], 'version', ARGV[6], 'value', ARGV[7], 'type', ARGV[8], 'owner', ARGV[9], 'token', ARGV[10],
  'idle', ARGV[11], 'sliding', ARGV[12], 'absolute', digits(absolute), 'expires', digits(expires))
if ARGV[9] ~= '' then
  redis.call('HSET', KEYS[1], 'entered', digits(now))
end
redis.call('PEXPIREAT', KEYS[1], digits(expires))
return { lives and 'replaced' or 'created', digits(now), digits(absolute), digits(expires),
  lives and held[3] or '', lives and held[4] or '' }
