-- Record a change for which Redis is the durable home: compare and set.
--
-- KEYS meta, changes, the kind's hash, the hash of what must exist
-- ARGV 1 kind  2 key  3 revision it must have now, 0 = must not exist  4 value ('' = removed)
--      5 bound of the stream  6 key of what must exist, '' = nothing  7 gen known to the caller, '' = none
--      8 gen to begin with where nothing is here  9 token of this very write
-- Returns {code, rev, entry}: '' = recorded as rev; 'moved' = it has another revision, entry is what is there;
-- 'missing' = what must exist does not; 'lost' = there was a directory and it is gone
local m = redis.call('HMGET', KEYS[1], 'gen', 'n')
local n = 0
if m[1] then
  n = tonumber(m[2])
elseif ARGV[7] ~= '' then
  return {'lost'}
end
if ARGV[6] ~= '' then
  local needed = redis.call('HGET', KEYS[4], ARGV[6])
  if not needed or not string.find(needed, '"value":', 1, true) then return {'missing'} end
end
local old = redis.call('HGET', KEYS[3], ARGV[2])
if rev(old) ~= tonumber(ARGV[3]) then
  -- The same write may have been sent twice, since its first answer was lost.
  if old and string.match(old, '^{"rev":%d+,"by":"([^"]*)"') == ARGV[9] then return {'', num(rev(old)), ''} end
  return {'moved', '0', old or ''}
end
local r = math.max(n, rev(old)) + 1
if not m[1] then redis.call('HSET', KEYS[1], 'gen', ARGV[8]) end
write(KEYS[1], KEYS[2], KEYS[3], ARGV[1], ARGV[2], entry(r, ARGV[4], ARGV[9]), n + 1, ARGV[5])
return {'', num(r), ''}
