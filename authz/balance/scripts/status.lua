-- Suspend or resume an account. Its live calls go on.
--
-- KEYS account hash
-- ARGV 1 status
-- Returns {code}
local v = redis.call('HGET', KEYS[1], 'books')
if not v then return {'lost'} end
redis.call('HSET', KEYS[1], 'books', string.match(v, '^(.* )[^ ]+$') .. ARGV[1])
return {''}
