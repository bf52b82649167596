-- Count one request of a bucket in its window: a window begins with the first
-- request after the last one ended. Nothing relies on key expiry: the end of
-- each window is stored and compared with the caller's clock, and every call
-- removes a few windows that are over.
--
-- KEYS windows: hash, bucket -> "end count"     ends: sorted set, bucket by end
-- ARGV 1 bucket  2 now, ms  3 length of a window, ms  4 requests in a window  5 windows to remove
-- Returns {allowed 0|1, counted, end, ms}
local now, length, limit = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local stop, count = string.match(redis.call('HGET', KEYS[1], ARGV[1]) or '', '^(%d+) (%d+)$')
stop, count = tonumber(stop) or 0, tonumber(count) or 0

-- An end more than a window away was written by a clock that is far ahead: it must not shut the bucket for long.
local fresh = now >= stop or stop > now + 2 * length
if fresh then
  stop, count = now + length, 0
end
local allowed = 0
if count < limit then
  allowed, count = 1, count + 1
  redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f %.0f', stop, count))
end
if fresh then
  redis.call('ZADD', KEYS[2], string.format('%.0f', stop), ARGV[1])
end

local over = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', ARGV[2], 'LIMIT', '0', ARGV[5])
for _, bucket in ipairs(over) do
  redis.call('HDEL', KEYS[1], bucket)
  redis.call('ZREM', KEYS[2], bucket)
end
return {allowed, count, stop}
