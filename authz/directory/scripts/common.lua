-- Shared by all scripts. Numbers are whole and below 2^53; they are written with
-- num(), since tostring() keeps only 14 digits.

local function num(x)
  return string.format('%.0f', x)
end

-- The revision of an entry (form: change.go); 0 where there is none.
local function rev(entry)
  if not entry then return 0 end
  return tonumber(string.match(entry, '^{"rev":(%d+)')) or 0
end

-- Write an entry as change n of this filling. The stream comes first: it is the
-- only one of the three that can be refused.
local function write(meta, changes, hash, kind, key, entry, n, bound)
  redis.call('XADD', changes, 'MAXLEN', bound, num(n) .. '-0', 'kind', kind, 'key', key)
  redis.call('HSET', meta, 'n', num(n))
  redis.call('HSET', hash, key, entry)
end

-- An entry's text; an empty value is a removal.
local function entry(r, value)
  local t = '{"rev":' .. num(r)
  if value ~= '' then t = t .. ',"value":' .. value end
  return t .. '}'
end
