-- Record a grant under the account's next number; an account uses a reference once.
--
-- KEYS accounts, the account's references, granted, the account's grants, meta
-- ARGV 1 account  2 reference  3 units  4 grant as JSON, without its number  5 the most a sum may be  6 gen known to the caller, '' = none
-- Returns {code, number, grant}: '' = recorded; 'exists' = this reference is used, by that grant;
-- 'missing' = no such account; 'range' = the account's sum would be beyond what can be counted; 'lost'
if ARGV[6] ~= '' and redis.call('EXISTS', KEYS[5]) == 0 then return {'lost'} end
local used = redis.call('HGET', KEYS[2], ARGV[2])
if used then return {'exists', used, redis.call('LINDEX', KEYS[4], used - 1) or ''} end
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then return {'missing'} end
local last, sum = 0, 0
local granted = redis.call('HGET', KEYS[3], ARGV[1])
if granted then
  local l, s = string.match(granted, '^(%d+) (%-?%d+)$')
  last, sum = tonumber(l), tonumber(s)
end
sum = sum + tonumber(ARGV[3])
if math.abs(sum) > tonumber(ARGV[5]) then return {'range'} end
last = last + 1
redis.call('RPUSH', KEYS[4], ARGV[4])
redis.call('HSET', KEYS[3], ARGV[1], num(last) .. ' ' .. num(sum))
redis.call('HSET', KEYS[2], ARGV[2], num(last))
return {'', num(last), ''}
