-- Lists the live entries of a hash. What has expired by the store's clock is removed, a bounded number at a time: no
-- reader's clock is asked (INV-REG-FORGET).
-- KEYS[1] the hash
-- ARGV    most entries to list, most expired ones to remove, and optionally the only field to look at
-- Reply   {store time in unix ms, field, entry, field, entry, ...}
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local flat
if ARGV[3] then
  local entry = redis.call('HGET', KEYS[1], ARGV[3])
  flat = entry and { ARGV[3], entry } or {}
else
  flat = redis.call('HGETALL', KEYS[1])
end
local live, expired = {}, {}
for index = 1, #flat, 2 do
  local expires, payload = string.match(flat[index + 1], '^1 %d+ %x+ %d+ (%d+) (.*)$')
  if expires and tonumber(expires) <= now then
    expired[#expired + 1] = flat[index]
  elseif payload and payload ~= '-' then
    live[#live + 1] = index
  end
end
for index = 1, math.min(#expired, tonumber(ARGV[2])) do
  redis.call('HDEL', KEYS[1], expired[index])
end
-- A different part of a long list each second, so that all of it is used.
local reply = { string.format('%.0f', now) }
local first = math.floor(now / 1000)
for count = 0, math.min(#live, tonumber(ARGV[1])) - 1 do
  local index = live[(first + count) % #live + 1]
  reply[#reply + 1] = flat[index]
  reply[#reply + 1] = flat[index + 1]
end
return reply
