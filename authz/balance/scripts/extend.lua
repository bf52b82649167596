-- Buy talk time up to until_ms for a live call (absolute: a smaller or equal
-- one changes nothing).
--
-- KEYS account hash; where the account wants to hear of low credit, the outbox
-- ARGV 1 field  2 now  3 day  4 cap  5 epoch  6 until_ms  7 proof_at (0 = none newer)
--      8 with the outbox: balance under which credit is low (0 = only tell when it runs out)
-- Returns {code, held, until_ms, budget, others, seq, killed, suspended}
local a, missing = account(KEYS[1], ARGV[1])
if not a then return {missing} end
if not a.raw or string.sub(a.raw, 2, 2) == 'm' then return {'unknown'} end
local c = load(a.raw)
if not c then return {'corrupt'} end
if c.state ~= 'l' and c.state ~= 'h' then return {'ended'} end
if c.epoch ~= tonumber(ARGV[5]) then return {'fenced'} end
today(a, tonumber(ARGV[3]))
local want, proof = tonumber(ARGV[6]), tonumber(ARGV[7])
if c.max > 0 and want > c.max * 1000 then want = c.max * 1000 end
local held, til = c.held, c.til
local total = reserve(a, c, want, tonumber(ARGV[4]))
local newer = proof > 0 and (not c.proof or proof > c.proof)
if newer then c.proof = proof end
if c.held ~= held then a.seq = a.seq + 1 end
if KEYS[2] and want > til then
  -- Each of the account's calls has about one slice left of what it holds. A call that got less than it asked for is
  -- at the end of the credit, unless a cap stopped it. Told again after ten minutes at most: the ledger knows what
  -- the customer has heard, and forgets at the next grant, as does this.
  local now, left = tonumber(ARGV[2]), a.av + a.n * (c.held - held)
  local kind = false
  if c.til < want and budget(a, tonumber(ARGV[4])) == a.av then kind = 'exhausted'
  elseif left < tonumber(ARGV[8]) then kind = 'low' end
  if kind then
    local before, at = string.match(redis.call('HGET', a.key, 'told') or '', '^(%a+) (%d+)$')
    if not before or now - tonumber(at) >= 600000 or (kind == 'exhausted' and before == 'low') then
      notice(KEYS[2], a, c, kind, now, left)
      redis.call('HSET', a.key, 'told', kind .. ' ' .. num(now))
    end
  end
end
if c.held ~= held or c.til ~= til or newer then save(a, dump(c)) end
return {'', c.held, c.til, total, a.n - 1, a.seq, string.find(c.flags, 'k', 1, true) and 1 or 0, string.sub(a.st, 1, 6) ~= 'active' and 1 or 0}
