-- Mirror a change that is recorded elsewhere, unless a later one is here.
--
-- KEYS meta, changes, the kind's hash, stage
-- ARGV 1 kind  2 key  3 rev  4 value ('' = removed)  5 bound of the stream
-- Returns '' = written, 'old' = nothing new, 'lost' = nothing is here to add to
local n = redis.call('HGET', KEYS[1], 'n')
if not n then
  -- A filling that is under way read the truth before this change perhaps.
  if redis.call('EXISTS', KEYS[4]) == 1 then redis.call('HINCRBY', KEYS[4], 'missed', 1) end
  return 'lost'
end
local r = tonumber(ARGV[3])
if r <= rev(redis.call('HGET', KEYS[3], ARGV[2])) then return 'old' end
write(KEYS[1], KEYS[2], KEYS[3], ARGV[1], ARGV[2], entry(r, ARGV[4]), tonumber(n) + 1, ARGV[5])
return ''
