-- Take an account's books away, so that nothing moves its credit while it is
-- rebuilt: every script answers 'lost'. Its calls stay.
--
-- KEYS account hash, guard
-- ARGV 1 token
-- Returns {code, 1 = shut, 0 = it had none}
if not guarded(KEYS[2], ARGV[1]) then return {'fenced'} end
local books = redis.call('HGET', KEYS[1], 'books')
if not books then return {'', 0} end
redis.call('HSET', KEYS[1], 'was', books)
redis.call('HDEL', KEYS[1], 'books')
return {'', 1}
