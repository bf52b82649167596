-- Register a sidecar under its name with a new fencing epoch, or renew it.
-- Registering takes the name from an earlier incarnation, whose calls can then
-- be claimed at once; that one's next renewal is refused.
--
-- KEYS sidecars hash
-- ARGV 1 name  2 epoch to renew (0 = register anew)  3 lease until  4 epoch that the new one must be above
-- Returns {epoch}: 0 when the renewal was refused, -1 when Redis has lost the register, or went back to a lower
-- epoch of the name: nobody takes a name with one
local v = redis.call('HGET', KEYS[1], 'name:' .. ARGV[1])
local mine = v and string.match(v, '^(%d+) ')
if ARGV[2] ~= '0' then
  if not v or tonumber(mine) < tonumber(ARGV[2]) then return {-1} end
  if mine ~= ARGV[2] then return {0} end
  redis.call('HSET', KEYS[1], 'name:' .. ARGV[1], ARGV[2] .. ' ' .. ARGV[3])
  return {tonumber(ARGV[2])}
end
local epoch = redis.call('HINCRBY', KEYS[1], 'epoch', 1)
if epoch <= tonumber(ARGV[4]) then
  epoch = tonumber(ARGV[4]) + 1
  redis.call('HSET', KEYS[1], 'epoch', string.format('%.0f', epoch))
end
redis.call('HSET', KEYS[1], 'name:' .. ARGV[1], string.format('%.0f', epoch) .. ' ' .. ARGV[3])
return {epoch}
