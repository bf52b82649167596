-- Apply a numbered grant: only the next number is applied, so that a retry, a
-- crash or a rebuild neither doubles nor drops one.
--
-- KEYS account hash
-- ARGV 1 number  2 units (may be negative)
-- Returns {code, grant_seq, available, seq}; code '' = applied, 'done' = had been, 'gap' = an earlier one is missing
local v = redis.call('HGET', KEYS[1], 'books')
if not v then return {'lost'} end
local av, held, seq, between, gr, gs, st = string.match(v, '^([^ ]+) ([^ ]+) ([^ ]+)( [^ ]+ [^ ]+ [^ ]+ [^ ]+ )([^ ]+) ([^ ]+)( [^ ]+)$')
if not av then return {'corrupt'} end
av, seq, gr, gs = tonumber(av), tonumber(seq), tonumber(gr), tonumber(gs)
local number, units = tonumber(ARGV[1]), tonumber(ARGV[2])
if number <= gs then return {'done', gs, av, seq} end
if number > gs + 1 then return {'gap', gs, av, seq} end
av, gr, seq = av + units, gr + units, seq + 1
redis.call('HSET', KEYS[1], 'books', string.format('%.0f %s %.0f%s%.0f %.0f%s', av, held, seq, between, gr, number, st))
if units > 0 then redis.call('HDEL', KEYS[1], 'told') end -- of low credit: see extend
return {'', number, av, seq}
