-- Open an account with no credit. An account that is there stays as it is.
--
-- KEYS account hash, the partition's set of accounts
-- ARGV 1 account id  2 status  3 day
-- Returns 1 when made, 0 when it was there
redis.call('SADD', KEYS[2], ARGV[1])
return redis.call('HSETNX', KEYS[1], 'books', '0 0 0 0 ' .. ARGV[3] .. ' 0 0 0 0 ' .. ARGV[2])
