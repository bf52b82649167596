-- Give an account that was shut its books back: it could not be rebuilt now.
--
-- KEYS account hash, guard
-- ARGV 1 token
-- Returns {code}
if not guarded(KEYS[2], ARGV[1]) then return {'fenced'} end
local was = redis.call('HGET', KEYS[1], 'was')
if was and redis.call('HEXISTS', KEYS[1], 'books') == 0 then redis.call('HSET', KEYS[1], 'books', was) end
redis.call('HDEL', KEYS[1], 'was')
return {''}
