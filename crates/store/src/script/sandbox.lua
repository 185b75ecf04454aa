-- Runs once, when the interpreter starts. `native` are functions of the server; the result is the runner of scripts.
local native = ...
local collectgarbage, error, getmetatable, pcall, rawget, rawset = collectgarbage, error, getmetatable, pcall, rawget, rawset
local setmetatable, tostring, tonumber, type, floor = setmetatable, tostring, tonumber, type, math.floor
local concat, next, select, setfenv = table.concat, next, select, setfenv

-- Errors that the server raises are tables or userdata; scripts expect text, as from Redis' pcall.
local function as_text(ok, problem, ...)
  if not ok then
    if type(problem) == 'table' and type(rawget(problem, 'err')) == 'string' then
      return false, problem.err
    elseif type(problem) == 'userdata' then
      return false, tostring(problem)
    end
  end
  return ok, problem, ...
end

local function protected_call(...)
  return as_text(pcall(...))
end

-- Lua runs the handler of its own xpcall inside the hook, where an endless loop could not be stopped.
local function handled(handler, ok, ...)
  if ok then
    return ok, ...
  end
  return false, handler(...)
end

local function protected_call_with_handler(body, handler)
  return handled(handler, protected_call(body))
end

local function raise(problem, level)
  if type(problem) == 'table' then
    native.locate(problem)
  end
  level = level or 1
  error(problem, level > 0 and level + 1 or level)
end

-- Native functions answer (true, results) or (false, text of an error).
local function checked(ok, ...)
  if ok then
    return ...
  end
  error((...), 3)
end

local function wrap(body)
  return function(...)
    return checked(body(...))
  end
end

local protected = {}

local function refuse()
  error('Attempt to modify a readonly table', 2)
end

-- A table that shows another one and cannot be changed.
local function protect(real)
  local proxy = setmetatable({}, { __index = real, __newindex = refuse, __metatable = false })
  protected[proxy] = true
  return proxy
end

-- string: the native functions count their steps; methods of strings must find them too.
local string = string
string.dump, string.gfind = nil, nil
for _, name in ipairs({ 'find', 'match', 'gsub' }) do
  string[name] = wrap(native[name])
end
local gmatch_arguments = wrap(native.gmatch)
string.gmatch = function(...)
  local subject, pattern = gmatch_arguments(...)
  local position = 0
  local function advance(ok, next_position, ...)
    if not ok then
      error(next_position, 3)
    end
    position = next_position
    return ...
  end
  return function()
    if position then
      return advance(native.gmatch_step(subject, pattern, position))
    end
  end
end
local repeat_string = string.rep
string.rep = function(text, count)
  -- Repeating nothing very often would take for ever in C.
  if text == '' then
    return ''
  end
  return repeat_string(text, count)
end
getmetatable('').__metatable = false

-- table: what moves a long table's items takes long in C, where the hook does not run. The length of a table with holes
-- can be any of its ends, so a table of a few items can be as long as a number.
local long = 4096
local table_copy = {}
for name, value in pairs(table) do
  table_copy[name] = value
end
local function is_long(target)
  return type(target) == 'table' and #target > long
end
table_copy.insert = function(target, ...)
  local position, value = ...
  local at = type(target) == 'table' and select('#', ...) == 2 and tonumber(position)
  if not at then
    return table.insert(target, ...)
  end
  at = floor(at)
  -- Lua 5.1 would move what is there down to any position. Beyond the end nothing moves.
  if not (at >= 1 and at < 2 ^ 31) then
    error('bad argument #2 to \'insert\' (position out of bounds)', 2)
  end
  if not is_long(target) then
    return table.insert(target, at, value)
  end
  for index = #target, at, -1 do
    rawset(target, index + 1, rawget(target, index))
  end
  rawset(target, at, value)
end
table_copy.remove = function(target, ...)
  local position = is_long(target) and tonumber((...))
  if not position then
    return table.remove(target, ...)
  end
  local length, at = #target, floor(position)
  if not (at >= 1 and at <= length) then
    return
  end
  local removed = rawget(target, at)
  for index = at, length - 1 do
    rawset(target, index, rawget(target, index + 1))
  end
  rawset(target, length, nil)
  return removed
end
table_copy.concat = function(target, ...)
  if is_long(target) then
    native.tick()
  end
  return concat(target, ...)
end
table_copy.foreach = function(target, body)
  for key, value in next, target do
    local result = body(key, value)
    if result ~= nil then
      return result
    end
  end
end
table_copy.foreachi = function(target, body)
  for index = 1, #target do
    local result = body(index, rawget(target, index))
    if result ~= nil then
      return result
    end
  end
end
local function ascending(left, right)
  return left < right
end
-- Some orders take C's sort a time that grows with the square of the length: a comparison in Lua can be stopped.
table_copy.sort = function(target, before)
  if before and is_long(target) then
    return table.sort(target, function(left, right)
      return before(left, right)
    end)
  end
  return table.sort(target, before or ascending)
end

local math_copy = {}
for name, value in pairs(math) do
  math_copy[name] = value
end
math_copy.random = function(...)
  local count = select('#', ...)
  local drawn = native.draw()
  if count == 0 then
    return drawn
  elseif count > 2 then
    error('wrong number of arguments', 2)
  end
  local low, high = 1, tonumber((select(count, ...)))
  if count == 2 then
    low = tonumber((...))
  end
  if not (low and high) then
    error('bad argument to \'random\' (number expected)', 2)
  end
  low, high = floor(low), floor(high)
  if low > high then
    error('bad argument #' .. count .. ' to \'random\' (interval is empty)', 2)
  end
  return floor(drawn * (high - low + 1)) + low
end
math_copy.randomseed = function(seed)
  native.seed(seed)
end

-- The environment of the script that runs.
local environment

local function compile(text, name)
  return native.compile(environment, text, name)
end

local function load_pieces(piece, name)
  local pieces = {}
  for text in piece do
    if text == '' then
      break
    end
    pieces[#pieces + 1] = text
  end
  return compile(concat(pieces), name)
end

local redis = {
  LOG_DEBUG = 0, LOG_VERBOSE = 1, LOG_NOTICE = 2, LOG_WARNING = 3,
  REPL_NONE = 0, REPL_SLAVE = 2, REPL_REPLICA = 2, REPL_AOF = 1, REPL_ALL = 3,
  REDIS_VERSION = native.version, REDIS_VERSION_NUM = native.version_number,
  replicate_commands = function() return true end,
  breakpoint = function() return false end,
  debug = function() end,
}

local call, call_list = native.call, native.call_list

-- Each argument that Rust refers to takes one of the 8,000 places that the interpreter's binding has for it, so more than a
-- few go in a table. Asking for the last of a few costs less than counting. A nil is refused either way.
-- Both functions are written out: a further level of calls would be named as the place of an error.
redis.call = function(...)
  local _, _, _, _, _, _, _, one_too_many = ...
  local ok, value
  if one_too_many == nil then
    ok, value = call(...)
  else
    ok, value = call_list({ ... }, select('#', ...))
  end
  if ok then
    return value
  end
  error(value, 0)
end

redis.pcall = function(...)
  local _, _, _, _, _, _, _, one_too_many = ...
  local _, value
  if one_too_many == nil then
    _, value = call(...)
  else
    _, value = call_list({ ... }, select('#', ...))
  end
  return value
end

-- These report errors as Redis does: as a table without a position.
for _, name in ipairs({
  'acl_check_cmd', 'log', 'sha1hex', 'setresp', 'error_reply', 'status_reply', 'set_repl',
}) do
  local body = native[name]
  redis[name] = function(...)
    local ok, value = body(...)
    if ok then
      return value
    end
    error(value, 0)
  end
end

local redis_proxy = protect(redis)

local json = { encode = wrap(native.json_encode), decode = wrap(native.json_decode), null = native.json_null }

local globals = {
  _VERSION = _VERSION, assert = assert, cjson = protect(json), coroutine = protect(coroutine), error = raise, gcinfo = gcinfo,
  getmetatable = getmetatable, ipairs = ipairs, load = load_pieces, loadstring = compile, math = protect(math_copy),
  next = next, pairs = pairs, pcall = protected_call, rawequal = rawequal, rawget = rawget, redis = redis_proxy,
  select = select, server = redis_proxy, string = protect(string),
  table = protect(table_copy), tonumber = tonumber, tostring = tostring, type = type, unpack = unpack,
  xpcall = protected_call_with_handler,
  setmetatable = function(target, ...)
    if target == environment or protected[target] then
      error('Attempt to modify a readonly table', 2)
    end
    return setmetatable(target, ...)
  end,
  rawset = function(target, key, value)
    if protected[target] then
      refuse()
    end
    return rawset(target, key, value)
  end,
  collectgarbage = function(option)
    return option == 'count' and collectgarbage('count') or 0
  end,
}

local missing = { cmsgpack = true, struct = true, bit = true, os = true }
setmetatable(globals, {
  __index = function(_, name)
    if missing[name] then
      error('the Bowline store does not have the Lua library \'' .. name .. '\'', 2)
    end
    error('Script attempted to access nonexistent global variable \'' .. tostring(name) .. '\'', 2)
  end,
})

local environment_metatable = { __index = globals, __newindex = refuse, __metatable = protect({}) }

-- Slot → function of the scripts that are kept.
local known = native.known

-- A fresh environment for each run: no script sees the globals of another.
return function(slot, keys, values)
  local script = known[slot]
  environment = { KEYS = keys, ARGV = values }
  globals._G = environment
  setmetatable(environment, environment_metatable)
  setfenv(script, environment)
  -- Of several results the first counts.
  local ok, value = pcall(script)
  return ok, value
end
