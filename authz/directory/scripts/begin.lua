-- Begin to fill the directory anew. Whoever began before stops.
--
-- KEYS meta, stage, staged accounts, staged numbers, staged tariffs
-- ARGV 1 token
-- Returns {gen, n} as they are now; gen '' = nothing is here
redis.call('DEL', KEYS[2], KEYS[3], KEYS[4], KEYS[5])
redis.call('HSET', KEYS[2], 'token', ARGV[1], 'missed', '0')
local m = redis.call('HMGET', KEYS[1], 'gen', 'n')
return {m[1] or '', m[2] or '0'}
