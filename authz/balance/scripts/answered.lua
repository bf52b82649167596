-- Record the answer of a call: money runs from here. A hold that lapsed or was
-- abandoned is taken again, as far as the credit goes.
--
-- KEYS account hash; where the account wants to hear of it, the outbox
-- ARGV 1 field  2 now (our clock)  3 at (the switch's clock, 0 = none)  4 day  5 cap  6 slice_ms  7 epoch
-- Returns {code, state, packed call, budget, others, seq, duplicate}
local a, missing = account(KEYS[1], ARGV[1])
if not a then return {missing} end
if not a.raw or string.sub(a.raw, 2, 2) == 'm' then return {'unknown'} end
local c = load(a.raw)
if not c then return {'corrupt'} end
local now, at = tonumber(ARGV[2]), tonumber(ARGV[3])
today(a, tonumber(ARGV[4]))
local dup = 0
if c.state == 'l' then
  if at > 0 and c.answered_switch and c.answered_switch ~= at then return {'conflict'} end
  dup = 1
elseif c.state == 'h' or (c.state == 'r' and not c.ended_switch) then
  if c.state == 'r' then
    a.n = a.n + 1
    c.over = nil
    c.epoch = tonumber(ARGV[7])
    c.til = 0
    reserve(a, c, tonumber(ARGV[6]), tonumber(ARGV[5]))
    a.seq = a.seq + 1
  end
  c.state, c.answered, c.proof = 'l', now, now
  if at > 0 then c.answered_switch = at end
  if KEYS[2] then notice(KEYS[2], a, c, 'answered', now, a.av + c.held) end
  save(a, dump(c))
else
  dup = 1
end
return {'', c.state, dump(c), budget(a, tonumber(ARGV[5])) + c.held, a.n - 1, a.seq, dup}
