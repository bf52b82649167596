package directory

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/tariff"
	"github.com/hmsovereign/ringfence/deploy/services"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// within bounds every wait of these tests.
const within = 10 * time.Second

// TestStores runs the suite on each kind of Redis that is supported.
func TestStores(t *testing.T) {
	run := func(t *testing.T, rdb redis.UniversalClient) {
		for name, test := range suite {
			t.Run(name, func(t *testing.T) {
				empty(t, rdb)
				test(t, rdb)
			})
		}
	}
	t.Run("miniredis", func(t *testing.T) { run(t, onMini(t)) })
	t.Run("redis", func(t *testing.T) { run(t, onRedis(t, services.Redis(t))) })
	t.Run("sentinel", func(t *testing.T) {
		set := services.Sentinel(t)
		run(t, client(t, &redis.UniversalOptions{Addrs: set.Addrs, MasterName: set.MasterName}))
	})
	t.Run("cluster", func(t *testing.T) {
		run(t, client(t, &redis.UniversalOptions{Addrs: services.RedisCluster(t).Addrs}))
	})
}

var suite = map[string]func(*testing.T, redis.UniversalClient){
	"Follow":      testFollow,
	"Gap":         testGap,
	"ManyChanges": testManyChanges,
	"Flushed":     testFlushed,
	"WentBack":    testWentBack,
	"MirrorOrder": testMirrorOrder,
	"ReplaceRace": testReplaceRace,
	"Unreadable":  testUnreadable,
}

// empty removes the directory's keys.
func empty(t testing.TB, rdb redis.UniversalClient) {
	t.Helper()
	ctx := bounded(t)
	var keys []string
	var mu sync.Mutex
	scan := func(ctx context.Context, c redis.Cmdable) error {
		found, err := c.Keys(ctx, "rf:*").Result()
		mu.Lock()
		defer mu.Unlock()
		keys = append(keys, found...)
		return err
	}
	var err error
	if cluster, ok := rdb.(*redis.ClusterClient); ok {
		err = cluster.ForEachMaster(ctx, func(ctx context.Context, c *redis.Client) error { return scan(ctx, c) })
	} else {
		err = scan(ctx, rdb)
	}
	if err != nil {
		t.Fatal(err)
	}
	if len(keys) == 0 {
		return
	}
	if err := rdb.Del(ctx, keys...).Err(); err != nil {
		t.Fatal(err)
	}
}

func client(t testing.TB, o *redis.UniversalOptions) redis.UniversalClient {
	o.ContextTimeoutEnabled = true
	rdb := redis.NewUniversalClient(o)
	t.Cleanup(func() { _ = rdb.Close() })
	return rdb
}

func onRedis(t testing.TB, s *services.RedisServer) redis.UniversalClient {
	return client(t, &redis.UniversalOptions{Addrs: []string{s.Addr}})
}

func onMini(t testing.TB) redis.UniversalClient {
	return client(t, &redis.UniversalOptions{Addrs: []string{miniredis.RunT(t).Addr()}})
}

func newRedis(t testing.TB, rdb redis.UniversalClient, options ...RedisOption) *Redis {
	t.Helper()
	r, err := NewRedis(rdb, options...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func wantErr(t testing.TB, err error, kind *Error, text string) {
	t.Helper()
	if !errors.Is(err, kind) || !strings.Contains(err.Error(), text) {
		t.Errorf("got error %v, want one that is %q and says %q", err, kind.problem, text)
	}
	var named interface{ Problem() string }
	if err != nil && (!errors.As(err, &named) || named.Problem() != kind.problem) {
		t.Errorf("%v does not tell its problem as %s", err, kind.problem)
	}
}

func bounded(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// run runs a directory until the test ends or stop is called, whatever comes first.
func run(t testing.TB, d *Directory) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		d.Run(ctx)
	}()
	stop = func() {
		cancel()
		<-done
	}
	t.Cleanup(stop)
	return stop
}

func eventually(t testing.TB, what string, check func() bool) {
	t.Helper()
	services.Eventually(t, within, func() error {
		if !check() {
			return fmt.Errorf("not so: %s", what)
		}
		return nil
	})
}

var epoch = time.Date(2025, 12, 1, 10, 0, 0, 0, time.UTC)

func account(id string) authz.Account {
	return authz.Account{ID: id, Company: "Company " + id, Status: authz.Active, Currency: "EUR", Tariff: DefaultTariff,
		TimeZone: "Europe/Amsterdam", Created: epoch}
}

func number(e164, of string) authz.Number {
	return authz.Number{ID: "id-" + e164, E164: e164, Account: of, Created: epoch}
}

func table(t testing.TB, text string) *tariff.Table {
	t.Helper()
	table, err := tariff.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return table
}

const halfPrice = "id: half\nrates: [{credits_per_minute: 0.5}]\n"
