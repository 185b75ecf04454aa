-- How every script of the session service begins: with the store's time.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local function digits(number)
  return string.format('%.0f', number)
end
-- Since when the store remembers every nonce, in unix ms. A key says so. Where it is not, nonces may have gone with it, and what is
-- remembered begins now, by whichever clock is ahead: what is compared with it was judged by the gateway's. A clock that was set back
-- a little lowers nothing that is there: what was signed before may still be believed.
-- ARGV[first] the gateway's time in unix ms  ARGV[first + 1] the earliest that a new mark may say, in unix ms
-- ARGV[first + 2] ms by which one that makes sense can be ahead of now
local function remembers_since(key, first)
  local latest = math.max(now, tonumber(ARGV[first]))
  local since = tonumber(string.match(redis.call('GET', key) or '', '^%d+$') or '')
  if not since or since > latest + tonumber(ARGV[first + 2]) then
    since = math.max(latest, tonumber(ARGV[first + 1]))
    redis.call('SET', key, digits(since))
  end
  return since
end
