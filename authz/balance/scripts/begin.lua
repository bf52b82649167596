-- Begin to rebuild a partition: whoever did before is fenced off. The guard also
-- names the Redis process, so that a failover in the middle is noticed.
--
-- KEYS guard
-- ARGV 1 token
-- Returns {''}
redis.call('SET', KEYS[1], ARGV[1] .. ' ' .. incarnation())
return {''}
