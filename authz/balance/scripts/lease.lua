-- Hold a named lease: one holder at a time, until its deadline. Deadlines are
-- stored and compared with the caller's clock; nothing relies on key expiry.
--
-- KEYS leases hash
-- ARGV 1 name  2 holder  3 now  4 until (<= now gives it up)
-- Returns 1 when held by the caller, else 0
local v = redis.call('HGET', KEYS[1], ARGV[1])
if v then
  local til, holder = string.match(v, '^(%d+) (.*)$')
  if holder ~= ARGV[2] and tonumber(til) > tonumber(ARGV[3]) then return 0 end
end
if tonumber(ARGV[4]) <= tonumber(ARGV[3]) then
  redis.call('HDEL', KEYS[1], ARGV[1])
  return 0
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[4] .. ' ' .. ARGV[2])
return 1
