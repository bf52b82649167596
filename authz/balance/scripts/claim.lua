-- Take a call over from a dead owner: compare and set its fencing epoch.
--
-- KEYS account hash
-- ARGV 1 field  2 epoch it must have now  3 new epoch
-- Returns {code, packed call, seq}
local a, missing = account(KEYS[1], ARGV[1])
if not a then return {missing} end
if not a.raw or string.sub(a.raw, 2, 2) == 'm' then return {'unknown'} end
local c = load(a.raw)
if not c then return {'corrupt'} end
if c.state ~= 'l' and c.state ~= 'h' then return {'ended'} end
if c.epoch ~= tonumber(ARGV[2]) and c.epoch ~= tonumber(ARGV[3]) then return {'fenced'} end
c.epoch = tonumber(ARGV[3])
local v = dump(c)
if v ~= a.raw then redis.call('HSET', KEYS[1], ARGV[1], v) end
return {'', v, a.seq}
