-- Charge once more a call that had been settled when Redis lost it, with the
-- amounts as settled, and append its record again. The caller has made sure
-- that the ledger does not have it.
--
-- KEYS account hash, outbox
-- ARGV 1 field  2 uid  3 record  4 units in all  5 tombstone (packed call)
-- Returns {code}: '' charged, 'there' nothing was changed
local a, missing = account(KEYS[1], ARGV[1])
if not a then return {missing} end
if a.raw and string.sub(a.raw, 2, 2) ~= 'm' then
  local c = load(a.raw)
  if not c then return {'corrupt'} end
  if c.uid ~= ARGV[2] or (c.state ~= 'h' and c.state ~= 'l') then return {'there'} end
  a.av, a.held, a.n = a.av + c.held, a.held - c.held, a.n - 1
end
local units = tonumber(ARGV[4])
a.av, a.sp, a.seq = a.av - units, a.sp + units, a.seq + 1
redis.call('XADD', KEYS[2], '*', 'r', ARGV[3])
save(a, ARGV[5])
return {''}
