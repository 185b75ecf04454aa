-- Stands before the prelude of a script that only reads or frees. A store that is full refuses a script its first write if
-- that needs memory, as the nonce does; it refuses nothing after a write that needs none. This one removes nothing.
-- KEYS[1] a hash, none of whose fields is called ""
redis.call('HDEL', KEYS[1], '')
