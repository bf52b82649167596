-- Put a call back that its owner still knows, after Redis lost it; or bring one
-- forward that went back: answered, proven, bought further than Redis has it.
--
-- KEYS account hash
-- ARGV 1 field  2 packed call, under its owner's present epoch  3 epoch under which the owner knows it
-- Returns {code, epoch}: '' put back or brought forward, 'there' nothing was changed, 'ended' it is over, or the
-- id is another call's; epoch: under which Redis has it now
local a, missing = account(KEYS[1], ARGV[1])
if not a then return {missing} end
local c = load(ARGV[2])
if not c or (c.state ~= 'h' and c.state ~= 'l') then return {'corrupt'} end
if not a.raw or string.sub(a.raw, 2, 2) == 'm' then
  a.av, a.held, a.n, a.seq = a.av - c.held, a.held + c.held, a.n + 1, a.seq + 1
  save(a, ARGV[2])
  return {'', c.epoch}
end
local old = load(a.raw)
if not old then return {'corrupt'} end
if old.uid ~= c.uid or (old.state ~= 'h' and old.state ~= 'l') then return {'ended'} end
-- Of two that know a call, the one that heard its answer owns it.
if old.epoch == tonumber(ARGV[3]) or (old.state == 'h' and c.state == 'l') then old.epoch = c.epoch end
if old.state == 'h' and c.state == 'l' then
  old.state, old.answered, old.answered_switch = 'l', c.answered, c.answered_switch
end
if c.proof and (not old.proof or c.proof > old.proof) then old.proof = c.proof end
for f in string.gmatch(c.flags, '%a') do flag(old, f) end
if c.til > old.til and c.held > old.held then
  local more = c.held - old.held
  a.av, a.held, a.seq = a.av - more, a.held + more, a.seq + 1
  old.til, old.held = c.til, c.held
end
local v = dump(old)
if v == a.raw then return {'there', old.epoch} end
save(a, v)
return {'', old.epoch}
