-- Reads a session, and lengthens the life of a sliding one.
-- ARGV[4] versions of which it must be one  ARGV[5] "1": lengthen its life  ARGV[6] "1": with the value
-- ARGV[7] ms after which a read that lengthens lives has the session entered among its owner's again
-- Reply   {"absent" | "unmet" | "unreadable", time} or {"found", time, version, value, type, owner, token, idle ms, sliding,
--         absolute end in unix ms, end in unix ms, bytes of the value, "1": enter it}
if not lives then
  return { 'absent', digits(now) }
end
if unmet(ARGV[4], '') then
  return { 'unmet', digits(now) }
end
for index = 2, 8 do
  if not (index < 5 and held[index] or tonumber(held[index])) then
    return { 'unreadable', digits(now) }
  end
end
local value = ARGV[6] ~= '1' and '' or redis.call('HGET', KEYS[1], 'value')
if not value then
  return { 'unreadable', digits(now) }
end
local expires = tonumber(held[8])
if ARGV[5] == '1' and held[6] == '1' then
  local later = math.min(now + tonumber(held[5]), tonumber(held[7]))
  if later > expires then
    expires = later
    -- In this order: see room.lua.
    redis.call('PEXPIREAT', KEYS[1], digits(expires))
    redis.call('HSET', KEYS[1], 'expires', digits(expires))
  end
end
-- A list of an owner can be lost without its sessions.
local due = ARGV[5] == '1' and held[3] ~= '' and now - (tonumber(held[9]) or 0) >= tonumber(ARGV[7])
if due then
  redis.call('HSET', KEYS[1], 'entered', digits(now))
end
local bytes = digits(redis.call('HSTRLEN', KEYS[1], 'value'))
return { 'found', digits(now), held[1], value, held[2], held[3], held[4], held[5], held[6], held[7], digits(expires), bytes,
  due and '1' or '0' }
