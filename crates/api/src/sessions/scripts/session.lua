-- What every script about one session needs: its state, and whether the conditions of the request hold.
-- KEYS[1] the session
local held = redis.call('HMGET', KEYS[1], 'version', 'type', 'owner', 'token', 'idle', 'sliding', 'absolute', 'expires',
  'entered')
-- It is over by the clock that is read here, whenever the store gets round to removing it. What does not say when it ends is not as
-- write.lua leaves it, and there until somebody replaces or removes it.
local lives = held[1] and (not tonumber(held[8]) or tonumber(held[8]) > now)
-- match, none: "" for no condition, "*", or versions with commas between. All versions have the same length.
local function unmet(match, none)
  local version = lives and held[1]
  if match ~= '' and not (version and (match == '*' or string.find(match, version, 1, true))) then
    return true
  end
  if none ~= '' and version and (none == '*' or string.find(none, version, 1, true)) then
    return true
  end
  return false
end
