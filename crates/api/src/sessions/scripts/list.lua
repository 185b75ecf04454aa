-- Lists entries of an owner, in the order of the bytes of their names.
-- KEYS[1] the hash of the owner
-- ARGV[4] list what comes after this name  ARGV[5] most entries
-- Reply   {"listed", time, "1" if there are more, name, token, name, token, ...}
-- Lua compares texts by the locale of the store. One that has no order of its own has capital letters before all others. In every
-- other one, what has three digits for each byte is in the order of the bytes; it takes longer.
local in_digits
if 'Z' > 'a' then
  in_digits = {}
  for byte = 0, 255 do
    in_digits[string.char(byte)] = string.format('%03d', byte)
  end
end
local function place_of(name)
  return in_digits and string.gsub(name, '.', in_digits) or name
end
local after = place_of(ARGV[4])
local flat = redis.call('HGETALL', KEYS[1])
local order, at = {}, {}
for index = 1, #flat, 2 do
  local place = place_of(flat[index])
  if place > after then
    order[#order + 1] = place
    at[place] = index
  end
end
table.sort(order)
local most = tonumber(ARGV[5])
local reply = { 'listed', digits(now), #order > most and '1' or '0' }
for index = 1, math.min(#order, most) do
  local name, value = flat[at[order[index]]], flat[at[order[index]] + 1]
  reply[#reply + 1] = name
  reply[#reply + 1] = string.match(value, '^1 %d+ %d+ (%x+)%s?%l*$') or ''
end
return reply
