-- Note a proof of life (heartbeat, switch listing) that came to a sidecar which
-- does not own the call.
--
-- KEYS account hash
-- ARGV 1 field  2 proof_at
-- Returns {code, packed call, available}
local a, missing = account(KEYS[1], ARGV[1])
if not a then return {missing} end
if not a.raw or string.sub(a.raw, 2, 2) == 'm' then return {'unknown'} end
local c = load(a.raw)
if not c then return {'corrupt'} end
if c.state ~= 'l' and c.state ~= 'h' then return {'ended', a.raw, a.av} end
local proof = tonumber(ARGV[2])
if c.state == 'l' and (not c.proof or proof > c.proof) then
  c.proof = proof
  redis.call('HSET', KEYS[1], ARGV[1], dump(c))
end
return {'', dump(c), a.av}
