-- Charge once more a call that had been settled when Redis lost it, with the
-- amounts as settled, and append its record again. The caller has made sure
-- that the ledger does not have it.
--
-- KEYS account hash, outbox
-- ARGV 1 field  2 uid  3 record  4 units in all  5 tombstone (packed call)
-- Returns {code}: '' charged, 'there' nothing was changed
local RANK = {s = 4, L = 3, r = 2, x = 1}
local a, missing = account(KEYS[1], ARGV[1])
if not a then return {missing} end
local before = 0
if a.raw and string.sub(a.raw, 2, 2) ~= 'm' then
  local c = load(a.raw)
  if not c then return {'corrupt'} end
  if c.uid ~= ARGV[2] then return {'there'} end
  if c.state == 'h' or c.state == 'l' then
    a.av, a.held, a.n = a.av + c.held, a.held - c.held, a.n - 1
  elseif RANK[c.state] >= (RANK[string.sub(ARGV[3], 1, 1)] or 0) then
    return {'there'}
  else
    before = c.charged -- Redis went back to where it was lost or released
  end
end
local more = tonumber(ARGV[4]) - before
a.av, a.sp, a.seq = a.av - more, a.sp + more, a.seq + 1
redis.call('XADD', KEYS[2], '*', 'r', ARGV[3])
save(a, ARGV[5])
return {''}
