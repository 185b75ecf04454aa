-- Makes sure that it is known since when the store remembers nonces, before the first of them comes.
-- KEYS[1] what says so
-- ARGV    see time.lua
-- Reply   since when, in unix ms
return digits(remembers_since(KEYS[1], 1))
