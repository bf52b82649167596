-- Make an empty directory where nothing is here.
--
-- KEYS meta
-- ARGV 1 gen  2 gen known to the caller, '' = none
-- Returns '' = there is one, 'lost' = there was one and it is gone
if redis.call('HEXISTS', KEYS[1], 'gen') == 1 then return '' end
if ARGV[2] ~= '' then return 'lost' end
redis.call('HSET', KEYS[1], 'gen', ARGV[1], 'n', '0')
return ''
