-- Add entries to what is being filled.
--
-- KEYS stage, a staged hash
-- ARGV 1 token  2.. key, entry, key, entry ...
-- Returns 1; 0 where another has begun since
if redis.call('HGET', KEYS[1], 'token') ~= ARGV[1] then return 0 end
for i = 2, #ARGV, 2 do
  redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1])
end
return 1
