-- Lists entries of an owner, in the order of their names.
-- KEYS[1] the hash of the owner
-- ARGV[4] list what comes after this name  ARGV[5] most entries
-- Reply   {"listed", time, "1" if there are more, name, token, name, token, ...}
local flat = redis.call('HGETALL', KEYS[1])
local names, tokens = {}, {}
for index = 1, #flat, 2 do
  if flat[index] > ARGV[4] then
    names[#names + 1] = flat[index]
    tokens[flat[index]] = string.match(flat[index + 1], '^1 %d+ %d+ (%x+)%s?%l*$') or ''
  end
end
table.sort(names)
local most = tonumber(ARGV[5])
local reply = { 'listed', digits(now), #names > most and '1' or '0' }
for index = 1, math.min(#names, most) do
  reply[#reply + 1] = names[index]
  reply[#reply + 1] = tokens[names[index]]
end
return reply
