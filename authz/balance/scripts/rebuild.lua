-- Write an account anew from what the ledger sums up to. An account that is
-- there stays as it is unless it is known to be wrong (force): then its live
-- calls stay, but for those the ledger has settled meanwhile.
-- Until opens_at new calls are answered 'lost', so that every sidecar can put
-- back what it knows first (restore, replay).
--
-- KEYS account hash, the partition's set of accounts
-- ARGV 1 account id  2 status  3 day  4 spent that day  5 granted  6 grant_seq  7 settled  8 seq
--      9 opens_at (0 = at once)  10 force '1'  11... uids that the ledger has settled
-- Returns {code, available, held, calls}; 'there' = nothing was changed
local K = KEYS[1]
redis.call('SADD', KEYS[2], ARGV[1])
local books = redis.call('HGET', K, 'books')
if books and ARGV[10] ~= '1' then return {'there'} end
local seq, held, n = tonumber(ARGV[8]), 0, 0
if books then
  local was = tonumber(string.match(books, '^[^ ]+ [^ ]+ ([^ ]+) '))
  if was and was > seq then seq = was end
end
local settled = {}
for i = 11, #ARGV do settled[ARGV[i]] = true end
local all = redis.call('HGETALL', K)
for i = 1, #all, 2 do
  if string.sub(all[i], 1, 2) == 'c:' then
    local c = load(all[i + 1])
    if c and (c.state == 'h' or c.state == 'l') then
      if settled[c.uid] then
        redis.call('HDEL', K, all[i])
      else
        held, n = held + c.held, n + 1
      end
    end
  end
end
local st = ARGV[2]
if st == 'active' and ARGV[9] ~= '0' then st = 'active@' .. ARGV[9] end
local av = tonumber(ARGV[5]) - tonumber(ARGV[7]) - held
redis.call('HSET', K, 'books', string.format('%.0f %.0f %.0f %.0f ', av, held, seq + 1, n) .. ARGV[3] .. ' ' .. ARGV[4] .. ' ' .. ARGV[7] ..
  ' ' .. ARGV[5] .. ' ' .. ARGV[6] .. ' ' .. st)
return {'', av, held, n}
