-- Stores or removes one entry, unless something newer is there (INV-REG-ORDER).
-- KEYS[1] the hash of an agent, a service, or all gateways
-- ARGV    field, term, epoch, generation, lifetime in ms, payload ("-" removes: the tombstone keeps the fence),
--         latest store time in unix ms at which this write may still be carried out, how many neighbours to look at
-- Reply   {"applied" | "refused" | "late", store time in unix ms, the live entry that was there or ""}
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local now_text = string.format('%.0f', now)
if now > tonumber(ARGV[7]) then
  return { 'late', now_text, '' }
end
local before = ''
local stored = redis.call('HGET', KEYS[1], ARGV[1])
if stored then
  local term, generation, expires = string.match(stored, '^1 (%d+) %x+ (%d+) (%d+) ')
  if term and tonumber(expires) > now then
    before = stored
    local newer = tonumber(term) - tonumber(ARGV[2])
    if newer == 0 then
      newer = tonumber(generation) - tonumber(ARGV[4])
    end
    if newer > 0 then
      return { 'refused', now_text, before }
    end
  end
end
local lifetime = tonumber(ARGV[5])
local expires = string.format('%.0f', now + lifetime)
local value = table.concat({ '1', ARGV[2], ARGV[3], ARGV[4], expires, ARGV[6] }, ' ')
redis.call('HSET', KEYS[1], ARGV[1], value)
-- The hash lives as long as its longest entry.
if redis.call('PTTL', KEYS[1]) < lifetime then
  redis.call('PEXPIRE', KEYS[1], ARGV[5])
end
-- What a dead gateway left goes with its neighbours' renewals, although nobody may read the hash (INV-REG-FORGET).
local neighbours = redis.call('HRANDFIELD', KEYS[1], ARGV[8], 'WITHVALUES')
for index = 1, #neighbours, 2 do
  local until_ms = string.match(neighbours[index + 1], '^1 %d+ %x+ %d+ (%d+) ')
  if until_ms and tonumber(until_ms) <= now then
    redis.call('HDEL', KEYS[1], neighbours[index])
  end
end
return { 'applied', now_text, before }
