-- Claims a gateway's name for one incarnation of its process. One key: who owns the name, as "1 <term> <epoch>".
-- KEYS[1] the claim
-- ARGV    epoch, term of the claim that may be taken from another owner ("0": none), lifetime in ms,
--         highest term seen in use, latest store time in unix ms at which this may still be carried out
-- Reply   {term, epoch of the owner, store time in unix ms}; term "0" if it came too late
-- Naming the claim that is taken makes a late request harmless: by then another claim stands there.
local time = redis.call('TIME')
local micros = tonumber(time[1]) * 1000000 + tonumber(time[2])
local now = string.format('%.0f', math.floor(micros / 1000))
if tonumber(now) > tonumber(ARGV[5]) then
  return { '0', ARGV[1], now }
end
local held = redis.call('GET', KEYS[1])
local term, owner
if held then
  term, owner = string.match(held, '^1 (%d+) (%x+)$')
end
if owner and owner ~= ARGV[1] and term ~= ARGV[2] then
  return { term, owner, now }
end
local seen = tonumber(ARGV[4])
if owner == ARGV[1] and tonumber(term) >= seen then
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
  return { term, owner, now }
end
-- The store's own clock keeps terms rising even when the claim was lost.
local fresh = math.max(micros, seen + 1)
if term then
  fresh = math.max(fresh, tonumber(term) + 1)
end
local text = string.format('%.0f', fresh)
redis.call('SET', KEYS[1], '1 ' .. text .. ' ' .. ARGV[1], 'PX', ARGV[3])
return { text, ARGV[1], now }
