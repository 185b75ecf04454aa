-- Enters a session among those of its owner. It is done before the session is written: an entry too many costs a look,
-- one too few would hide a session.
-- KEYS[1] the hash of the owner; a value is "1 <written, unix ms> <possible end of the session, unix ms> <token>", and " shared"
--         if another write that entered the same session may still be on its way
-- ARGV[4] the session  ARGV[5] token  ARGV[6] possible end: "+" and ms from now, or unix ms
-- ARGV[7] most entries  ARGV[8] ms for which an entry outlives its session  ARGV[9] neighbours to look at
-- ARGV[10] "1": the session has this token already. An entry that is there stays whose it is, for another write may need it
-- Reply   {"entered" | "full", time}, or {"restored", time} if the session had the token and there was no entry
local grace = tonumber(ARGV[8])
local again = ARGV[10] == '1'
-- What nobody lists goes with the writes of others.
local neighbours = redis.call('HRANDFIELD', KEYS[1], ARGV[9], 'WITHVALUES')
for index = 1, #neighbours, 2 do
  local ends = string.match(neighbours[index + 1], '^1 %d+ (%d+) ')
  if ends and tonumber(ends) + grace <= now then
    redis.call('HDEL', KEYS[1], neighbours[index])
  end
end
local known = redis.call('HGET', KEYS[1], ARGV[4])
if not known and redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[7]) then
  return { 'full', digits(now) }
end
local ends = tonumber(ARGV[6])
if string.sub(ARGV[6], 1, 1) == '+' then
  ends = now + ends
end
local value
local written, before, whose = string.match(known or '', '^1 (%d+) (%d+) (.+)$')
if not (known and again) then
  value = { '1', digits(now), digits(ends), ARGV[5] }
  if written then
    -- The write that follows may fail, and then the session that is there lives on.
    value[3] = digits(math.max(ends, tonumber(before)))
    -- The entry loses the token of the write before, which may come after this one all the same.
    if tonumber(written) + grace > now then
      value[5] = 'shared'
    end
  end
elseif written and tonumber(before) + grace < ends then
  -- Within the grace the entry outlives the session all the same.
  value = { '1', written, digits(ends), whose }
end
if value then
  redis.call('HSET', KEYS[1], ARGV[4], table.concat(value, ' '))
  if redis.call('PTTL', KEYS[1]) < ends + grace - now then
    redis.call('PEXPIREAT', KEYS[1], digits(ends + grace))
  end
end
return { again and not known and 'restored' or 'entered', digits(now) }
