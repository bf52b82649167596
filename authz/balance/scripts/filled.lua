-- Look at a partition's mark, or set it at the end of a rebuild. The mark names
-- the Redis process it was set in: under another one, writes may be missing.
--
-- KEYS mark, guard
-- ARGV 1 token ('' = only look)  2 now
-- Returns {code, mark}: 0 = none, 1 = of another process, 2 = of this one
local now = incarnation()
if ARGV[1] ~= '' then
  if redis.call('GET', KEYS[2]) ~= ARGV[1] .. ' ' .. now then return {'fenced'} end
  redis.call('SET', KEYS[1], ARGV[2] .. ' ' .. now)
  return {'', 2}
end
local v = redis.call('GET', KEYS[1])
if not v then return {'', 0} end
if string.match(v, '^%d+ (%w*)$') == now then return {'', 2} end
return {'', 1}
