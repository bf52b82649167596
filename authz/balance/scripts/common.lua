-- Shared by the scripts that change a call, but authorize. Numbers are whole and below 2^53; they
-- are written with num(), since tostring() keeps only 14 digits.

local TAB = '\t'

local function num(x)
  return string.format('%.0f', x)
end

-- ceil(x / y) for whole x >= 0, exact: x / y alone would round near 2^53.
local function ceildiv(x, y)
  local r = math.fmod(x, y)
  local q = (x - r) / y
  if r > 0 then q = q + 1 end
  return q
end

local function floordiv(x, y)
  return (x - math.fmod(x, y)) / y
end

-- A call out of its packed field (format: package authz, packed.go).
local function load(v)
  local c = {}
  local held, til, ep, ar, as, pf, ov, es, ch, xm
  c.state, held, til, c.flags, ep, ar, as, pf, ov, es, ch, xm, c.tail = string.match(v,
    '^1(%a)\t(%d+)\t(%d+)\t(%a*)\t(%d*)\t(%-?%d*)\t(%-?%d*)\t(%-?%d*)\t(%-?%d*)\t(%-?%d*)\t(%d*)\t(%d*)\t(.*)$')
  if not c.state then return nil end
  local created, expires, uid, hash, price, max = string.match(c.tail, '^(%d+)\t(%-?%d+)\t([^\t]*)\t([^\t]*)\t([%d,]+)\t(%d*)\t')
  if not max then return nil end
  c.created = tonumber(created)
  c.expires = c.created + tonumber(expires)
  c.uid, c.hash, c.max = uid, hash, tonumber(max) or 0
  c.price = price
  c.held = tonumber(held)
  c.til = tonumber(til)
  c.epoch = tonumber(ep) or 0
  local function at(d) if d == '' then return nil end return c.created + tonumber(d) end
  c.answered, c.answered_switch, c.proof, c.over, c.ended_switch = at(ar), at(as), at(pf), at(ov), at(es)
  c.charged = tonumber(ch) or 0
  c.extra = tonumber(xm) or 0
  return c
end

local function dump(c)
  local function at(t) if not t then return '' end return num(t - c.created) end
  local function some(x) if x == 0 then return '' end return num(x) end
  return table.concat({'1' .. c.state, num(c.held), num(c.til), c.flags, num(c.epoch),
    at(c.answered), at(c.answered_switch), at(c.proof), at(c.over), at(c.ended_switch),
    some(c.charged), some(c.extra), c.tail}, TAB)
end

local function flag(c, f)
  if not string.find(c.flags, f, 1, true) then c.flags = c.flags .. f end
end

local function price(c)
  if not c.p then
    local r, cn, i, s, mr, mc, cp = string.match(c.price, '^(%d+),(%d*),(%d+),(%d+),(%d+),(%d*),(%d+)$')
    c.p = {rate = tonumber(r), connect = tonumber(cn) or 0, initial = tonumber(i), step = tonumber(s),
      mrate = tonumber(mr), mconnect = tonumber(mc) or 0, credit = tonumber(cp)}
  end
  return c.p
end

-- Seconds charged for talk_ms milliseconds: whole seconds, then increments.
local function billed(p, talk_ms)
  local s = ceildiv(talk_ms, 1000)
  if s == 0 then return 0 end
  if s <= p.initial then return p.initial end
  return p.initial + ceildiv(s - p.initial, p.step) * p.step
end

local function cost(p, talk_ms)
  return p.connect + ceildiv(billed(p, talk_ms) * p.rate, 60)
end

local function money(p, talk_ms)
  return p.mconnect + ceildiv(billed(p, talk_ms) * p.mrate, 60)
end

-- Money as units at the tariff's price of a credit, half up. The price is taken
-- out first: the whole product could pass 2^53.
local function units(p, micros)
  if micros <= 0 or p.credit <= 0 then return 0 end
  local rest = math.fmod(micros, p.credit)
  return (micros - rest) / p.credit * 60000 + floordiv(rest * 120000 + p.credit, 2 * p.credit)
end

local UNLIMITED = 2147483

-- The most whole seconds that budget pays for.
local function affordable(p, budget)
  if budget < p.connect then return 0 end
  if cost(p, UNLIMITED * 1000) <= budget then return UNLIMITED end
  local s = floordiv((budget - p.connect) * 60, p.rate)
  if s < p.initial then return 0 end
  s = p.initial + floordiv(s - p.initial, p.step) * p.step
  if s > UNLIMITED then s = UNLIMITED end
  return s
end

-- The account's books and one of its calls; nil and a code where there are none.
local function account(key, field)
  local v = redis.call('HMGET', key, 'books', field)
  if not v[1] then return nil, 'lost' end
  local av, held, seq, n, day, ds, sp, rest, st = string.match(v[1],
    '^([^ ]+) ([^ ]+) ([^ ]+) ([^ ]+) ([^ ]+) ([^ ]+) ([^ ]+)( [^ ]+ [^ ]+ ([^ ]+))$')
  if not av then return nil, 'corrupt' end
  return {key = key, field = field, av = tonumber(av), held = tonumber(held), seq = tonumber(seq), n = tonumber(n),
    day = tonumber(day), ds = tonumber(ds), sp = tonumber(sp), rest = rest, st = st, raw = v[2]}
end

-- The account's date only moves forward.
local function today(a, day)
  if day > a.day then a.day = day; a.ds = 0 end
end

-- What may still be spent, cap included (0: no cap). The credit this call holds
-- already is not in it.
local function budget(a, cap)
  local b = a.av
  if cap > 0 and cap - a.ds - a.held < b then b = cap - a.ds - a.held end
  return b
end

local function save(a, value)
  redis.call('HSET', a.key, 'books', string.format('%.0f %.0f %.0f %.0f %.0f %.0f %.0f', a.av, a.held, a.seq, a.n, a.day, a.ds, a.sp) .. a.rest,
    a.field, value)
end

-- One record to the outbox (format: package authz, record.go), and to the caller.
local function record(stream, acct, a, c, r)
  local text = table.concat({c.state, num(a.seq), num(r.at), r.answered and num(r.answered) or '',
    num(r.talk or 0), num(r.units or 0), num(r.micros or 0), num(r.extra_units or 0), num(r.extra_micros or 0),
    num(r.overrun or 0), c.flags, r.reason or '', num(c.epoch), acct, string.sub(a.field, 3), c.tail}, TAB)
  redis.call('XADD', stream, '*', 'r', text)
  return text
end

-- What a customer wants to hear of a call that goes on, to the outbox (format: package authz, notice.go).
local function notice(stream, a, c, kind, at, left)
  redis.call('XADD', stream, '*', 'r', table.concat({'l', num(a.seq), num(at), c.answered and num(c.answered) or '',
    '0', num(left), '0', '0', '0', '0', c.flags, kind, num(c.epoch), string.match(a.key, ':a:(.*)$'), string.sub(a.field, 3), c.tail}, TAB))
end

-- A settled call keeps no numbers: its tombstone is short.
local function short(tail)
  local head = string.match(tail, '^([^\t]*\t[^\t]*\t[^\t]*\t[^\t]*\t[^\t]*\t[^\t]*\t)')
  return head .. string.rep(TAB, 8)
end

-- Reserve talk time up to want_ms for a call out of what the account has:
-- as much of it as the budget allows, never less than what is held already.
-- Returns what the call could spend in all.
local function reserve(a, c, want_ms, cap)
  local p = price(c)
  local total = budget(a, cap) + c.held
  local want = cost(p, want_ms)
  if want > total then
    local s = affordable(p, total)
    want_ms = s * 1000
    want = s > 0 and cost(p, want_ms) or 0
  end
  if want_ms > c.til and want >= c.held then
    a.av = a.av - (want - c.held)
    a.held = a.held + (want - c.held)
    c.held = want
    c.til = want_ms
  end
  return total
end

-- The Redis process, '' where it does not tell.
local function incarnation()
  local info = redis.pcall('INFO', 'server')
  return type(info) == 'string' and string.match(info, 'run_id:(%w+)') or ''
end

-- Whether a rebuild is still the one that its partition's guard names.
local function guarded(key, token)
  return string.match(redis.call('GET', key) or '', '^[^ ]+') == token
end
