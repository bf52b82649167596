-- What changed after a position.
--
-- KEYS meta, changes, accounts, numbers, tariffs
-- ARGV 1 gen  2 n  3 most changes
-- Returns {code, n, more, kind, key, entry, kind, key, entry, ...}
-- code '' = all since; 'lost' = nothing is here; 'gap' = another filling, changes trimmed away, or Redis went back
local m = redis.call('HMGET', KEYS[1], 'gen', 'n')
if not m[1] then return {'lost'} end
local n, after = tonumber(m[2]), tonumber(ARGV[2])
if m[1] ~= ARGV[1] or n < after then return {'gap'} end
if n == after then return {'', num(n), 0} end
local found = redis.call('XRANGE', KEYS[2], num(after + 1) .. '-0', '+', 'COUNT', ARGV[3])
if not found[1] or found[1][1] ~= num(after + 1) .. '-0' then return {'gap'} end
local hash = {account = KEYS[3], number = KEYS[4], tariff = KEYS[5]}
local out, seen = {'', '0', 0}, {}
for _, e in ipairs(found) do
  local kind, key = e[2][2], e[2][4]
  after = after + 1
  local name = kind .. ' ' .. key
  if hash[kind] and not seen[name] then
    seen[name] = true
    local value = redis.call('HGET', hash[kind], key)
    if value then
      out[#out + 1] = kind
      out[#out + 1] = key
      out[#out + 1] = value
    end
  end
end
out[2] = num(after)
if after < n then out[3] = 1 end
return out
