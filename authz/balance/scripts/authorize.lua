-- Check an account and reserve credit for a call. The decision path: one HMGET
-- and one HSET on the account's own hash. Go works out all it can beforehand, and
-- what only a refusal, a replay or a partial hold needs is read out of the packed
-- call, not passed: each argument costs Redis time.
--
-- KEYS account hash, outbox
-- ARGV 1 field      2 packed call, held for a full slice     3 now     4 day
--      5 need       units that must be available
--      6 hold       units of a full slice
--      7 cap        units a day, 0 = none        8 max calls, 0 = none
--      9 deny       code decided already, or ''
--     10 dry        '1' = write nothing         11 rejected records a minute
-- Returns {code, held, until_ms (0: the full slice), budget, available, others, seq, uid, expires_at}; uid only where
-- it is not the one passed or the call was refused, expires_at only where the call was there already
local K, field, value = KEYS[1], ARGV[1], ARGV[2]
local v = redis.call('HMGET', K, 'books', field)
if not v[1] then return {'lost'} end
local av, held, seq, n, day, ds, rest, st = string.match(v[1],
  '^([^ ]+) ([^ ]+) ([^ ]+) ([^ ]+) ([^ ]+) ([^ ]+)( [^ ]+ [^ ]+ [^ ]+ ([^ ]+))$')
if not av then return {'corrupt'} end
av, held, seq, n = tonumber(av), tonumber(held), tonumber(seq), tonumber(n)
if ARGV[4] ~= day and tonumber(ARGV[4]) > tonumber(day) then day, ds = ARGV[4], '0' end
local budget = av
if ARGV[7] ~= '0' then budget = math.min(av, tonumber(ARGV[7]) - tonumber(ds) - held) end

-- The parts of the packed call.
local function parts()
  local flags, epoch, tail = string.match(value, '^1h\t%d+\t%d+\t(%a*)\t(%d+)\t\t\t\t\t\t\t\t(.*)$')
  local head, uid, hash, price = string.match(tail, '^(%d+\t%-?%d+\t)([^\t]*)\t([^\t]*)\t([%d,]+)\t')
  return flags, epoch, tail, uid, hash, price, head
end

local uid = false -- set where the call was there before
local old = v[2]
if old then
  local now, state = tonumber(ARGV[3]), string.sub(old, 2, 2)
  if state == 'm' then
    -- One left by an asker who went away (third field) does not bar a later request.
    local til, before = string.match(old, '^1m\t(%d+)\t?(%d*)$')
    if not til then return {'corrupt'} end
    if now < tonumber(til) and (before == '' or now <= tonumber(before)) then return {'call_ended'} end
  else
    local h, til, flags, t = string.match(old, '^1%a\t(%d+)\t(%d+)\t(%a*)\t%d*\t%-?%d*\t%-?%d*\t%-?%d*\t%-?%d*\t%-?%d*\t%d*\t%d*\t(.*)$')
    if not t then return {'corrupt'} end
    local created, expires, u, hash = string.match(t, '^(%d+)\t(%-?%d+)\t([^\t]*)\t([^\t]*)\t')
    if not hash then return {'corrupt'} end
    local _, _, tail, own, ours = parts()
    if hash ~= ours then return {'call_conflict', 0, 0, 0, 0, 0, 0, u} end
    if state == 'h' or state == 'l' then
      return {'', tonumber(h), tonumber(til), budget + tonumber(h), av, n - 1, seq, u, tonumber(created) + tonumber(expires)}
    end
    if state ~= 'x' and not (state == 'r' and string.find(flags, 'g', 1, true)) then
      return {'call_ended', 0, 0, 0, 0, 0, 0, u}
    end
    -- Rejected before, or given back since its asker had gone: look again, under the same uid.
    uid = u
    value = string.sub(value, 1, -#tail - 1) .. string.gsub(tail, '^(%d+\t%-?%d+\t)' .. '[^\t]*', '%1' .. u, 1)
  end
end

local need, deny = tonumber(ARGV[5]), ARGV[9]
if deny == '' then
  -- An account being rebuilt is active@<when it opens>.
  local opens = st ~= 'active' and string.match(st, '^active@(%d+)$')
  if opens and tonumber(ARGV[3]) < tonumber(opens) then return {'lost'} end
  if st ~= 'active' and not opens then deny = 'account_suspended'
  elseif ARGV[8] ~= '0' and n >= tonumber(ARGV[8]) then deny = 'too_many_calls'
  elseif av < need then deny = 'insufficient_credits'
  elseif budget < need then deny = 'spend_limit_reached'
  end
end

if deny ~= '' then
  local flags, epoch, tail, own = parts()
  if ARGV[10] == '' and not uid then
    local minute = string.format('%.0f', math.floor(tonumber(ARGV[3]) / 60000))
    local m, count, uncounted = string.match(redis.call('HGET', K, 'rejects') or '', '^(%d+) (%d+) (%d+)$')
    if m ~= minute then count = '0' end
    count, uncounted = tonumber(count), tonumber(uncounted or '0')
    if count < tonumber(ARGV[11]) then
      redis.call('XADD', KEYS[2], '*', 'r', table.concat({'x', string.format('%.0f', seq), ARGV[3], '', '0', '0', '0', '0', '0', '0',
        flags, deny, epoch, string.match(K, ':a:(.*)$'), string.sub(field, 3), tail}, '\t'))
      -- The tombstone is short: it keeps no numbers.
      redis.call('HSET', K, 'rejects', string.format('%s %.0f %.0f', minute, count + 1, uncounted),
        field, '1x\t0\t0\t' .. flags .. '\t' .. epoch .. '\t\t\t\t0\t\t\t\t' ..
        string.match(tail, '^[^\t]*\t[^\t]*\t[^\t]*\t[^\t]*\t[^\t]*\t[^\t]*\t') .. '\t\t\t\t\t\t\t\t')
    else
      redis.call('HSET', K, 'rejects', string.format('%s %.0f %.0f', minute, count, uncounted + 1))
    end
  end
  return {deny, 0, 0, budget, av, n, seq, uid or own}
end

local hold, til = tonumber(ARGV[6]), 0
if budget < hold then
  -- Less than a slice is left: hold what remains, in whole increments.
  local _, _, _, _, _, price = parts()
  local rate, connect, initial, step = string.match(price, '^(%d+),(%d*),(%d+),(%d+),')
  rate, connect, initial, step = tonumber(rate), tonumber(connect) or 0, tonumber(initial), tonumber(step)
  local x = (budget - connect) * 60
  local s = (x - math.fmod(x, rate)) / rate
  s = s - math.fmod(s - initial, step)
  til = s * 1000
  x = s * rate
  local r = math.fmod(x, 60)
  hold = connect + (x - r) / 60
  if r > 0 then hold = hold + 1 end
  value = '1h\t' .. string.format('%.0f\t%.0f', hold, til) .. string.match(value, '^1h\t%d+\t%d+(\t.*)$')
end
if ARGV[10] == '' then
  av, seq = av - hold, seq + 1
  redis.call('HSET', K, 'books', string.format('%.0f %.0f %.0f %.0f ', av, held + hold, seq, n + 1) .. day .. ' ' .. ds .. rest,
    field, value)
end
return {'', hold, til, budget, av, n, seq, uid}
