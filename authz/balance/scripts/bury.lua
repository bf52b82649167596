-- Write what the ledger knows of an account's calls, while the account is shut.
--
-- KEYS account hash, guard
-- ARGV 1 token  2... pairs of field and packed call ('' = remove)
-- Returns {code}; 'there' = the account is open, and nothing was changed
if not guarded(KEYS[2], ARGV[1]) then return {'fenced'} end
if redis.call('HEXISTS', KEYS[1], 'books') == 1 then return {'there'} end
for i = 2, #ARGV, 2 do
  if ARGV[i + 1] == '' then
    redis.call('HDEL', KEYS[1], ARGV[i])
  else
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
  end
end
return {''}
