package balance

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// DialConfig says which Redis and how long to wait for it.
type DialConfig struct {
	// URL is redis://, rediss:// or unix:// for one node (the forms of
	// redis.ParseURL), redis+cluster://host:port,host:port, or
	// redis+sentinel://host:port,host:port/master-name?db=0.
	URL      string
	Username string // where the URL has none
	Password string
	PoolSize int           // connections a node; 0 = the driver's default
	Timeout  time.Duration // of dialling, reading and writing; default 250 ms
}

// protocol is RESP2: nothing here uses what RESP3 adds, and with that the driver
// looks before each answer for messages that nobody asked for.
const protocol = 2

// Dial makes a client; it does not connect yet. A failing command is not
// repeated by the driver: whoever asked decides.
func Dial(c DialConfig) (redis.UniversalClient, error) {
	if c.Timeout == 0 {
		c.Timeout = 250 * time.Millisecond
	}
	o := redis.UniversalOptions{Username: c.Username, Password: c.Password, PoolSize: c.PoolSize,
		MaxRetries: -1, DialerRetries: 1, DialTimeout: c.Timeout, ReadTimeout: c.Timeout, WriteTimeout: c.Timeout, PoolTimeout: c.Timeout,
		Protocol: protocol, ContextTimeoutEnabled: true, MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}}
	u, err := url.Parse(c.URL)
	if err != nil {
		return nil, errors.New("redis.url is not a URL; write redis://host:6379/0")
	}
	if u.User != nil {
		o.Username = u.User.Username()
		if p, ok := u.User.Password(); ok {
			o.Password = p
		}
	}
	scheme, ok := strings.CutPrefix(u.Scheme, "redis+")
	if !ok {
		return dialOne(c, o)
	}
	o.Addrs = strings.Split(u.Host, ",")
	for _, a := range o.Addrs {
		if !strings.Contains(a, ":") {
			return nil, fmt.Errorf("redis.url: %q has no port", a)
		}
	}
	switch scheme {
	case "cluster":
		// A redirect is no failure: it tells where the slot is now.
		o.MaxRedirects = 3
		return redis.NewClusterClient(o.Cluster()), nil
	case "sentinel":
		o.MasterName = strings.Trim(u.Path, "/")
		if o.MasterName == "" {
			return nil, errors.New("redis.url: redis+sentinel needs the master's name, as in redis+sentinel://host:26379/mymaster")
		}
		if db := u.Query().Get("db"); db != "" {
			if _, err := fmt.Sscanf(db, "%d", &o.DB); err != nil {
				return nil, fmt.Errorf("redis.url: db %q is not a number", db)
			}
		}
		return redis.NewFailoverClient(o.Failover()), nil
	}
	return nil, fmt.Errorf("redis.url: scheme %q is not one of redis, rediss, unix, redis+cluster, redis+sentinel", u.Scheme)
}

func dialOne(c DialConfig, o redis.UniversalOptions) (redis.UniversalClient, error) {
	one, err := redis.ParseURL(c.URL)
	if err != nil {
		return nil, fmt.Errorf("redis.url: %w", err)
	}
	if one.Username == "" {
		one.Username = o.Username
	}
	if one.Password == "" {
		one.Password = o.Password
	}
	one.PoolSize, one.MaxRetries, one.DialerRetries = o.PoolSize, o.MaxRetries, o.DialerRetries
	one.DialTimeout, one.ReadTimeout, one.WriteTimeout, one.PoolTimeout = o.DialTimeout, o.ReadTimeout, o.WriteTimeout, o.PoolTimeout
	one.Protocol, one.ContextTimeoutEnabled, one.MaintNotificationsConfig = protocol, true, o.MaintNotificationsConfig
	return redis.NewClient(one), nil
}

// LogTo sends the driver's own log to log, at debug: what fails is reported by
// whoever asked.
func LogTo(log *slog.Logger) { redis.SetLogger(driverLog{log}) }

type driverLog struct{ log *slog.Logger }

func (d driverLog) Printf(ctx context.Context, format string, v ...any) {
	d.log.DebugContext(ctx, fmt.Sprintf(format, v...))
}
