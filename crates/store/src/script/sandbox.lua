-- Runs once, when the interpreter starts. `native` are functions of the server; the result is the runner of scripts.
local native = ...
local collectgarbage, error, getmetatable, pcall, rawget, rawset = collectgarbage, error, getmetatable, pcall, rawget, rawset
local setmetatable, tostring, type, floor = setmetatable, tostring, type, math.floor
local concat, select, setfenv = table.concat, select, setfenv

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
for _, name in ipairs({ 'find', 'match', 'gmatch', 'gsub' }) do
  string[name] = wrap(native[name])
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

-- table: what moves a long table's items takes long in C, where the hook does not run.
local long = 4096
local table_copy = {}
for name, value in pairs(table) do
  table_copy[name] = value
end
local function tick_if_long(target)
  if type(target) == 'table' and #target > long then
    native.tick()
  end
end
table_copy.insert = function(target, ...)
  if select('#', ...) > 1 then
    tick_if_long(target)
  end
  return table.insert(target, ...)
end
table_copy.remove = function(target, ...)
  if select('#', ...) > 0 then
    tick_if_long(target)
  end
  return table.remove(target, ...)
end
table_copy.concat = function(target, ...)
  tick_if_long(target)
  return concat(target, ...)
end
local function ascending(left, right)
  return left < right
end
-- Some orders take C's sort a time that grows with the square of the length: a comparison in Lua can be stopped.
table_copy.sort = function(target, before)
  return table.sort(target, before or ascending)
end

local math_copy = {}
for name, value in pairs(math) do
  math_copy[name] = value
end
math_copy.random = function(low, high)
  local drawn = native.draw()
  if low == nil then
    return drawn
  end
  if high == nil then
    low, high = 1, low
  end
  if low > high then
    error('bad argument to \'random\' (interval is empty)', 2)
  end
  return floor(low + drawn * (high - low + 1))
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

redis.call = function(...)
  local ok, value = native.call(...)
  if ok then
    return value
  end
  error(value, 0)
end

redis.pcall = function(...)
  local _, value = native.call(...)
  return value
end

-- These report errors as Redis does: as a table without a position.
for _, name in ipairs({ 'log', 'sha1hex', 'setresp', 'error_reply', 'status_reply', 'set_repl' }) do
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
  select = select, server = redis_proxy, setmetatable = setmetatable, string = protect(string),
  table = protect(table_copy), tonumber = tonumber, tostring = tostring, type = type, unpack = unpack,
  xpcall = protected_call_with_handler,
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

local environment_metatable = { __index = globals, __newindex = refuse, __metatable = false }

-- A fresh environment for each run: no script sees the globals of another.
return function(script, keys, values)
  -- With room for the third: growing costs as much as the rest.
  environment = { KEYS = keys, ARGV = values, _G = false }
  environment._G = environment
  setmetatable(environment, environment_metatable)
  setfenv(script, environment)
  return pcall(script)
end
