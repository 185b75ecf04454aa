-- What every script about sessions does first: it is not run too late, and only once for each nonce (INV-SESS-AUTH).
-- KEYS[1] what the script is about
-- KEYS[2] the nonce, if this script consumes it; its hash tag is that of KEYS[1]
-- KEYS[3] since when nonces are remembered, if that is to be asked; see time.lua
-- ARGV[1] latest store time in unix ms at which the script may be carried out
-- ARGV[2] ms for which the nonce is remembered
-- ARGV[3] who consumes it: the driver may send a reading script again, and that is no replay
-- The last two of ARGV, with KEYS[3]: the latest that it may say, in unix ms, and when the request was signed, in unix s
-- Reply   {"late" | "replayed" | "unmarked" | what the script says, store time in unix ms, ...}, or
--         {"unremembered", store time, since when}
if now > tonumber(ARGV[1]) then
  return { 'late', digits(now) }
end
-- Signatures tell whole seconds: those of the second in which it began are let in, or nobody could begin.
if KEYS[3] then
  local since = remembers_since(KEYS[3], ARGV[#ARGV - 1])
  if not since then
    return { 'unmarked', digits(now) }
  end
  if tonumber(ARGV[#ARGV]) < math.floor(since / 1000) then
    return { 'unremembered', digits(now), digits(since) }
  end
end
if KEYS[2] and not redis.call('SET', KEYS[2], ARGV[3], 'PX', ARGV[2], 'NX') then
  if redis.call('GET', KEYS[2]) ~= ARGV[3] then
    return { 'replayed', digits(now) }
  end
end
