-- How every script of the session service begins: with the store's time.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local function digits(number)
  return string.format('%.0f', number)
end
-- Since when the store remembers every nonce, in unix ms. A key says so. Where it is not, nonces may have gone with it, and what is
-- remembered begins now; likewise if the clock was set back since.
local function remembers_since(key)
  local since = tonumber(redis.call('GET', key) or '')
  if not since or since > now then
    since = now
    redis.call('SET', key, digits(now))
  end
  return since
end
