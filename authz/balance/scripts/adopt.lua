-- Take in a call that was let go unchecked while Redis was away, with or
-- without an earlier hold. It is never refused; it holds what remains.
--
-- KEYS account hash
-- ARGV 1 field  2 now  3 day  4 cap  5 hash  6 epoch  7 slice_ms  8 flags  9 tail
-- Returns {code, packed call, budget, others, seq}
local a, missing = account(KEYS[1], ARGV[1])
if not a then return {missing} end
today(a, tonumber(ARGV[3]))
local c
if a.raw and string.sub(a.raw, 2, 2) ~= 'm' then
  c = load(a.raw)
  if not c then return {'corrupt'} end
  if c.hash ~= ARGV[5] then return {'conflict'} end
  if c.state == 's' or c.state == 'L' then return {'ended'} end
  if c.state == 'r' and c.ended_switch then return {'ended'} end
end
local held, fresh = c and c.held, not c or c.state == 'r' or c.state == 'x'
if fresh then
  local tail = ARGV[9]
  if c and c.state == 'r' then tail = c.tail end
  if c and c.state == 'x' then tail = string.gsub(tail, '^(%d+\t%-?%d+\t)[^\t]*', '%1' .. c.uid, 1) end
  c = load('1h\t0\t0\t' .. ARGV[8] .. '\t' .. ARGV[6] .. '\t\t\t\t\t\t\t\t' .. tail)
  a.n = a.n + 1
end
c.epoch = tonumber(ARGV[6])
for f in string.gmatch(ARGV[8], '%a') do flag(c, f) end
local total = reserve(a, c, tonumber(ARGV[7]), tonumber(ARGV[4]))
if fresh or c.held ~= held then a.seq = a.seq + 1 end
local v = dump(c)
if v ~= a.raw then save(a, v) end
return {'', v, total, a.n - 1, a.seq}
