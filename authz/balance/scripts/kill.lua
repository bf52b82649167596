-- Flag a call for its end: its owner sees the flag at the next extension or heartbeat.
--
-- KEYS account hash
-- ARGV 1 field
-- Returns {code, packed call}
local a, missing = account(KEYS[1], ARGV[1])
if not a then return {missing} end
if not a.raw or string.sub(a.raw, 2, 2) == 'm' then return {'unknown'} end
local c = load(a.raw)
if not c then return {'corrupt'} end
if c.state ~= 'l' and c.state ~= 'h' then return {'ended', a.raw} end
flag(c, 'k')
local v = dump(c)
redis.call('HSET', KEYS[1], ARGV[1], v)
return {'', v}
