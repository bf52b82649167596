-- Put a live call back that its owner still knows, after a rebuild.
--
-- KEYS account hash
-- ARGV 1 field  2 packed call
-- Returns {code}: '' put back, 'there' nothing was changed
local a, missing = account(KEYS[1], ARGV[1])
if not a then return {missing} end
if a.raw and string.sub(a.raw, 2, 2) ~= 'm' then return {'there'} end
local c = load(ARGV[2])
if not c or (c.state ~= 'h' and c.state ~= 'l') then return {'corrupt'} end
a.av, a.held, a.n, a.seq = a.av - c.held, a.held + c.held, a.n + 1, a.seq + 1
save(a, ARGV[2])
return {''}
