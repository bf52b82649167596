-- Give the hold of an unanswered call back, cost 0.
--
-- KEYS account hash, outbox
-- ARGV 1 field  2 now  3 reason: abandoned, gone (the asker went away: it may ask again), or expired (only
--      once its time is over)  4 account id  5 end-mark until, where no such call is known (0 = leave none)
--      6 the mark bars only requests made up to this time (0 = all)
-- Returns {code, state, uid, duplicate, seq, available}
local a, missing = account(KEYS[1], ARGV[1])
if not a then return {missing} end
local now = tonumber(ARGV[2])
if not a.raw or string.sub(a.raw, 2, 2) == 'm' then
  if tonumber(ARGV[5]) > 0 then redis.call('HSET', KEYS[1], ARGV[1], '1m\t' .. ARGV[5] .. (ARGV[6] ~= '0' and '\t' .. ARGV[6] or '')) end
  return {'unknown'}
end
local c = load(a.raw)
if not c then return {'corrupt'} end
if c.state == 'l' then return {'notyet', c.state, c.uid, 0, a.seq, a.av} end
if c.state ~= 'h' then return {'', c.state, c.uid, 1, a.seq, a.av} end
if ARGV[3] == 'expired' and now < c.expires then return {'notyet', c.state, c.uid, 0, a.seq, a.av} end
a.av, a.held, a.n, a.seq = a.av + c.held, a.held - c.held, a.n - 1, a.seq + 1
c.state, c.held, c.over = 'r', 0, now
if ARGV[3] == 'gone' then flag(c, 'g') end
record(KEYS[2], ARGV[4], a, c, {at = now, reason = ARGV[3]})
save(a, dump(c))
return {'', c.state, c.uid, 0, a.seq, a.av}
