-- How every script of the session service begins: with the store's time.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local function digits(number)
  return string.format('%.0f', number)
end
-- Since when the store remembers every nonce, in unix ms by the gateways' clocks: a key says so. Nil where there is none, for nonces
-- may have gone with it; and where it is later than the latest that makes sense.
local function remembers_since(key, latest)
  local since = tonumber(string.match(redis.call('GET', key) or '', '^%d+$') or '')
  return since and since <= tonumber(latest) and since or nil
end
