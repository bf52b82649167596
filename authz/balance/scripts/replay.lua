-- Charge once more a call that had been settled when Redis lost it, with the
-- amounts as settled, and append its record again, with the seq of this charge.
-- The caller has made sure that neither the outbox nor the ledger has it. A
-- record above the account's base was written after the account was rebuilt: it
-- is in the books.
--
-- KEYS account hash, outbox
-- ARGV 1 field  2 uid  3 record  4 units in all  5 tombstone (packed call)  6 seq of the record  7 day it counts for, 0 = not known
-- Returns {code, record}: '' charged, 'there' nothing was changed
local RANK = {s = 4, L = 3, r = 2, x = 1}
local a, missing = account(KEYS[1], ARGV[1])
if not a then return {missing} end
local base = redis.call('HGET', KEYS[1], 'base')
if not base or tonumber(ARGV[6]) > tonumber(base) then return {'there'} end
local before, value = 0, ARGV[5]
if a.raw and string.sub(a.raw, 2, 2) ~= 'm' then
  local c = load(a.raw)
  if not c then return {'corrupt'} end
  if c.uid ~= ARGV[2] then
    value = a.raw -- the id is another call's now, which stays
  elseif c.state == 'h' or c.state == 'l' then
    a.av, a.held, a.n = a.av + c.held, a.held - c.held, a.n - 1
  elseif RANK[c.state] >= (RANK[string.sub(ARGV[3], 1, 1)] or 0) then
    return {'there'}
  else
    before = c.charged -- Redis went back to where it was lost or released
  end
end
local more = tonumber(ARGV[4]) - before
a.av, a.sp, a.seq = a.av - more, a.sp + more, a.seq + 1
if tonumber(ARGV[7]) == a.day then a.ds = a.ds + more end
local text = string.gsub(ARGV[3], '^(%a\t)[^\t]*', '%1' .. num(a.seq), 1)
redis.call('XADD', KEYS[2], '*', 'r', text)
save(a, value)
return {'', text}
