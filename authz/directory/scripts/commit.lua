-- Put what was filled in the place of what is there, if nothing changed since it
-- was begun.
--
-- KEYS meta, stage, changes, accounts, numbers, tariffs, staged accounts, staged numbers, staged tariffs
-- ARGV 1 token  2 gen at the beginning, '' = none  3 n at the beginning  4 new gen
-- Returns 1; 0 where something changed or another has begun since
local s = redis.call('HMGET', KEYS[2], 'token', 'missed')
if s[1] ~= ARGV[1] or s[2] ~= '0' then return 0 end
local m = redis.call('HMGET', KEYS[1], 'gen', 'n')
if (m[1] or '') ~= ARGV[2] or (m[2] or '0') ~= ARGV[3] then return 0 end
for i = 4, 6 do
  redis.call('UNLINK', KEYS[i])
  if redis.call('EXISTS', KEYS[i + 3]) == 1 then redis.call('RENAME', KEYS[i + 3], KEYS[i]) end
end
redis.call('DEL', KEYS[3], KEYS[2])
redis.call('HSET', KEYS[1], 'gen', ARGV[4], 'n', '0', 'complete', '1')
return 1
