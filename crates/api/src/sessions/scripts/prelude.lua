-- How every script of the session service begins: it is not run too late, and only once for each nonce (INV-SESS-AUTH).
-- KEYS[1] what the script is about
-- KEYS[2] the nonce, if this script consumes it; its hash tag is that of KEYS[1]
-- ARGV[1] latest store time in unix ms at which the script may be carried out
-- ARGV[2] ms for which the nonce is remembered
-- ARGV[3] who consumes it: the driver may send a reading script again, and that is no replay
-- Reply   {"late" | "replayed" | what the script says, store time in unix ms, ...}
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local function digits(number)
  return string.format('%.0f', number)
end
if now > tonumber(ARGV[1]) then
  return { 'late', digits(now) }
end
if KEYS[2] and not redis.call('SET', KEYS[2], ARGV[3], 'PX', ARGV[2], 'NX') then
  if redis.call('GET', KEYS[2]) ~= ARGV[3] then
    return { 'replayed', digits(now) }
  end
end
