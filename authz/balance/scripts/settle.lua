-- End a call: charge its true cost, give the rest of the hold back, append one
-- record; once. Money runs from answer to hangup, both stamps from one clock.
--
-- KEYS account hash, outbox
-- ARGV 1 field  2 now  3 received_at (our clock)  4 ended_at (the switch's, 0 = none)
--      5 answered_at (the switch's, 0 = none, -1 = never answered)  6 cause  7 extra micros
--      8 day  9 lost '1' = nobody can vouch for it: settle to the last proof of life
--     10 account id  11 end-mark until (0 = leave none)
-- Returns {code, state, uid, duplicate, talk_ms, units, micros, extra_units, overrun, flags, available, seq, record}
local SLACK = 5000 -- our stamps and the switch's may differ by so much
local a, missing = account(KEYS[1], ARGV[1])
if not a then return {missing} end
local now, received, ended, answered = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local extra, lost = tonumber(ARGV[7]), ARGV[9] == '1'
if not a.raw or string.sub(a.raw, 2, 2) == 'm' then
  if tonumber(ARGV[11]) > 0 then redis.call('HSET', KEYS[1], ARGV[1], '1m\t' .. ARGV[11]) end
  return {'unknown'}
end
local c = load(a.raw)
if not c then return {'corrupt'} end
if string.find(c.flags, 'e', 1, true) then extra = 0 end -- an emergency call is never charged
local function done(dup, s)
  return {'', c.state, c.uid, dup, s.talk or 0, s.units or 0, s.micros or 0, s.extra_units or 0, s.overrun or 0, c.flags, a.av, a.seq, s.record or ''}
end
-- What an earlier end charged.
local function before()
  local extra_units = units(price(c), c.extra)
  local talk = c.til
  if c.state == 'L' then talk = math.max(0, (c.proof or c.answered) - c.answered) end
  return {talk = talk, units = c.charged - extra_units, micros = money(price(c), talk), extra_units = extra_units}
end
today(a, tonumber(ARGV[8]))

if c.state == 'x' then return done(1, {}) end
if c.state == 's' then
  local same = (ended == 0 or not c.ended_switch or ended == c.ended_switch)
    and (answered == 0 or not c.answered_switch or answered == c.answered_switch)
    and (extra == 0 or extra == c.extra)
  if not lost and not same then return {'conflict'} end
  return done(1, before())
end
if lost and c.state == 'L' then return done(1, before()) end
if lost and c.state ~= 'l' then return {'notyet'} end

-- Never answered: the hold goes back, cost 0.
if c.state ~= 'l' and c.state ~= 'L' and answered <= 0 and not (c.answered) then
  if answered == 0 then return {'unanswered'} end
  if c.state == 'r' then
    if not c.ended_switch then c.ended_switch = ended > 0 and ended or received; save(a, dump(c)) end
    return done(1, {})
  end
  a.av, a.held, a.n, a.seq = a.av + c.held, a.held - c.held, a.n - 1, a.seq + 1
  c.state, c.held, c.over = 'r', 0, now
  c.ended_switch = ended > 0 and ended or received
  record(KEYS[2], ARGV[10], a, c, {at = received, reason = ARGV[6]})
  save(a, dump(c))
  return done(0, {})
end

local s = {extra_micros = extra}
local proven = 0
if c.answered then proven = math.max(0, (c.proof or c.answered) - c.answered) end
local answered_switch = answered > 0 and answered or c.answered_switch
if lost then
  s.talk = proven
  s.at = c.proof or c.answered
  s.answered = c.answered
else
  local talk
  local lived = math.max(0, received - c.created)
  s.at = received
  if ended > 0 then
    if ended >= c.created - SLACK and ended <= received + SLACK then s.at = ended else flag(c, 't') end
  end
  if ended > 0 and answered_switch then
    talk = ended - answered_switch
    if talk < 0 or talk > lived + SLACK then talk = nil end
    s.answered = answered_switch
  elseif c.answered then
    talk = received - c.answered
    if talk < 0 then talk = nil end -- another sidecar's clock was ahead
    s.answered = c.answered
  elseif answered_switch then
    talk = received - answered_switch
    if talk < 0 or talk > lived + SLACK then talk = nil end
    s.answered = answered_switch
  end
  if not talk then
    -- Nonsense: no more than was held or proven, and no longer than it lived.
    flag(c, 'c')
    local most = math.max(c.til, proven)
    local seen = lived
    if c.answered then seen = math.max(0, received - c.answered) end
    talk = math.min(most, seen)
    s.answered = c.answered or c.created
  end
  s.talk = talk
  if ended > 0 then c.ended_switch = ended end
  if answered > 0 then c.answered_switch = answered end
end

local p = price(c)
s.units, s.micros = cost(p, s.talk), money(p, s.talk)
s.extra_units = units(p, extra)
local total = s.units + s.extra_units
local more = total - c.charged -- a lost call that is settled after all was charged already
if s.units > c.held and c.state ~= 'L' then s.overrun = s.units - c.held; flag(c, 'o') end
if c.state == 'l' or c.state == 'h' then a.n = a.n - 1 end
a.av = a.av + c.held - more
a.held = a.held - c.held
a.sp = a.sp + more
a.ds = a.ds + more
a.seq = a.seq + 1
c.state = lost and 'L' or 's'
c.held, c.charged, c.extra, c.over = 0, total, extra, now
if not lost then c.til = s.talk end -- what was talked, now that it is over
s.record = record(KEYS[2], ARGV[10], a, c, {at = s.at, answered = s.answered, talk = s.talk, units = s.units, micros = s.micros,
  extra_units = s.extra_units, extra_micros = extra, overrun = s.overrun, reason = ARGV[6]})
if not lost then c.tail = short(c.tail) end
save(a, dump(c))
return done(0, s)
