-- Remove the tombstones and end-marks whose time is over.
--
-- KEYS account hash
-- ARGV 1 now  2 how long a tombstone stays, ms  3... fields
-- Returns how many were removed
local now, keep, gone = tonumber(ARGV[1]), tonumber(ARGV[2]), 0
for i = 3, #ARGV do
  local v = redis.call('HGET', KEYS[1], ARGV[i])
  if v then
    local over
    if string.sub(v, 2, 2) == 'm' then
      over = now >= tonumber(string.match(v, '^1m\t(%d+)'))
    else
      local c = load(v)
      over = c and c.state ~= 'h' and c.state ~= 'l' and c.over and now >= c.over + keep
    end
    if over then
      redis.call('HDEL', KEYS[1], ARGV[i])
      gone = gone + 1
    end
  end
end
return gone
