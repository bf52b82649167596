-- Write a missing or shut account anew from what the ledger sums up to, with the
-- holds of the calls that it still has. seq goes above all that was ever given
-- out, and is kept as the account's base: what was recorded up to it and is not
-- in the ledger is not in these sums.
-- Until opens_at new calls are answered 'lost', so that every sidecar can put
-- back what it knows first (restore, replay).
--
-- KEYS account hash, the partition's set of accounts, guard, what was rebuilt last
-- ARGV 1 account id  2 status  3 day  4 spent that day  5 granted  6 grant_seq  7 settled  8 seq
--      9 opens_at (0 = at once)  10 token
-- Returns {code, base}; 'there' = nothing was changed
local K = KEYS[1]
if not guarded(KEYS[3], ARGV[10]) then return {'fenced'} end
if redis.call('HEXISTS', K, 'books') == 1 then return {'there'} end
local seq, held, n = tonumber(ARGV[8]), 0, 0
local was = string.match(redis.call('HGET', K, 'was') or '', '^[^ ]+ [^ ]+ ([^ ]+) ')
if was and tonumber(was) > seq then seq = tonumber(was) end
seq = seq + 1
local all = redis.call('HGETALL', K)
for i = 1, #all, 2 do
  if string.sub(all[i], 1, 2) == 'c:' then
    local c = load(all[i + 1])
    if c and (c.state == 'h' or c.state == 'l') then held, n = held + c.held, n + 1 end
  end
end
local st = ARGV[2]
if st == 'active' and ARGV[9] ~= '0' then st = 'active@' .. ARGV[9] end
local av = tonumber(ARGV[5]) - tonumber(ARGV[7]) - held
redis.call('SADD', KEYS[2], ARGV[1])
redis.call('SET', KEYS[4], num(seq) .. ' ' .. ARGV[1])
redis.call('HSET', K, 'base', num(seq), 'books', string.format('%.0f %.0f %.0f %.0f ', av, held, seq, n) .. ARGV[3] .. ' ' .. ARGV[4] ..
  ' ' .. ARGV[7] .. ' ' .. ARGV[5] .. ' ' .. ARGV[6] .. ' ' .. st)
redis.call('HDEL', K, 'was')
return {'', seq}
