package app

import (
	"errors"
	"fmt"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/hmsovereign/ringfence/authz/balance"
	"github.com/hmsovereign/ringfence/config"
)

// redisTimeout is how long Redis may take. An embedded one is this very process: slow is busy, not away.
func redisTimeout(c *config.Config, embedded bool) time.Duration {
	if embedded {
		return max(c.Redis.Timeout, 10*time.Second)
	}
	return c.Redis.Timeout
}

// openRedis gives the client of the configured Redis, or of one inside this
// process where none is configured.
func openRedis(c *config.Config) (redis.UniversalClient, *miniredis.Miniredis, error) {
	url := c.Redis.URL.Reveal()
	var mini *miniredis.Miniredis
	if url == "" {
		// An embedded Redis is one sidecar's own; with a ledger that others may
		// share, each of them would spend the same credit.
		if _, embedded := c.SQLitePath(); !embedded {
			return nil, nil, errors.New("ledger.url is Postgres, but redis.url is empty: set redis.url, or leave ledger.url empty too")
		}
		mini = miniredis.NewMiniRedis()
		if err := mini.StartAddr("127.0.0.1:0"); err != nil {
			return nil, nil, fmt.Errorf("start the embedded Redis: %w", err)
		}
		url = "redis://" + mini.Addr() + "/0"
	}
	rdb, err := balance.Dial(balance.DialConfig{URL: url, Username: c.Redis.Username, Password: c.Redis.Password.Reveal(),
		PoolSize: c.Redis.PoolSize, Timeout: redisTimeout(c, mini != nil)})
	if err != nil {
		if mini != nil {
			mini.Close()
		}
		return nil, nil, err
	}
	return rdb, mini, nil
}
