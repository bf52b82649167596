package account

import (
	"context"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"pgregory.net/rapid"

	"github.com/hmsovereign/ringfence/authz/balance"
	"github.com/hmsovereign/ringfence/deploy/services"
	"github.com/hmsovereign/ringfence/sync/ledger"
)

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A known secret always makes the same key, and any change of a key shows.
func TestKeyForm(t *testing.T) {
	secret, err := hex.DecodeString("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f")
	check(t, err)
	key := keyOf(secret)
	if key != "rf_live_003aUlTJC7tjlCTQj2uNU3MFagCXG9LRKRcwGkBIDlf3Kv17W" || len(key) != 57 {
		t.Errorf("key %s", key)
	}
	if !WellFormed(key) || ShownKey(key) != key[:12] || ShownKey("rf") != "rf" {
		t.Errorf("key %s, shown %s", key, ShownKey(key))
	}
	for i := range key {
		for _, c := range "0zZ-_ é" {
			if changed := key[:i] + string(c) + key[i+1:]; changed != key && WellFormed(changed) {
				t.Errorf("%s passes for a key", changed)
			}
		}
	}
	for _, bad := range []string{"", "rf_live_", key + "0", key[1:], strings.ToUpper(key), strings.Repeat("rf_live_", 10)} {
		if WellFormed(bad) {
			t.Errorf("%q passes for a key", bad)
		}
	}
	seen := map[string]bool{}
	for range 1000 {
		k := MintKey()
		if seen[k] || !WellFormed(k) {
			t.Fatalf("minted %s", k)
		}
		seen[k] = true
	}
	for _, edge := range []byte{0x00, 0xff} {
		if k := keyOf([]byte(strings.Repeat(string([]byte{edge}), secretBytes))); !WellFormed(k) {
			t.Errorf("%x...: %s", edge, k)
		}
	}
}

// A day begins where the calendar of the zone says, whatever its clocks do that night.
func TestDayStart(t *testing.T) {
	for _, c := range []struct{ zone, day, want string }{
		{"UTC", "2025-12-01", "2025-12-01T00:00:00Z"},
		{"Europe/Amsterdam", "2025-03-30", "2025-03-29T23:00:00Z"},
		{"Europe/Amsterdam", "2025-03-31", "2025-03-30T22:00:00Z"},
		{"America/Sao_Paulo", "2018-11-04", "2018-11-04T03:00:00Z"}, // midnight is skipped
		{"Africa/Cairo", "2024-04-26", "2024-04-25T22:00:00Z"},      // so it is here
		{"America/Havana", "2025-11-02", "2025-11-02T04:00:00Z"},    // midnight comes twice
		{"Asia/Kathmandu", "2025-01-01", "2024-12-31T18:15:00Z"},
		{"Pacific/Kiritimati", "2025-01-01", "2024-12-31T10:00:00Z"},
		{"Pacific/Apia", "2011-12-30", "2011-12-30T10:00:00Z"}, // a day that was skipped is empty
		{"Pacific/Apia", "2011-12-31", "2011-12-30T10:00:00Z"},
	} {
		loc, err := time.LoadLocation(c.zone)
		check(t, err)
		day, err := time.Parse(time.DateOnly, c.day)
		check(t, err)
		if got := DayStart(day.Year(), day.Month(), day.Day(), loc).UTC().Format(time.RFC3339); got != c.want {
			t.Errorf("%s begins in %s at %s, want %s", c.day, c.zone, got, c.want)
		}
	}
}

// In any zone, days follow each other without gap or overlap, and every moment is within its own date.
func TestDaysTile(t *testing.T) {
	zones := []string{"UTC", "Europe/Amsterdam", "America/Sao_Paulo", "Asia/Tehran", "Africa/Cairo", "Australia/Lord_Howe", "America/St_Johns", "Pacific/Apia", "Asia/Beirut"}
	rapid.Check(t, func(t *rapid.T) {
		loc, err := time.LoadLocation(rapid.SampledFrom(zones).Draw(t, "zone"))
		if err != nil {
			t.Fatal(err)
		}
		at := time.UnixMilli(rapid.Int64Range(946_684_800_000, 2_524_608_000_000).Draw(t, "at"))
		y, m, d := at.In(loc).Date()
		from, to := DayStart(y, m, d, loc), DayStart(y, m, d+1, loc)
		if at.Before(from) || !at.Before(to) || to.Sub(from) > 25*time.Hour {
			t.Fatalf("%v is not in its day, %v to %v", at.In(loc), from, to)
		}
		text := at.In(loc).Format("2006-01-02T15:04:05.000Z07:00")
		got, bad := readMoment("start_date", text, time.UTC)
		if bad != nil || !got.first.Equal(at) || got.next.Sub(at) != time.Millisecond {
			t.Fatalf("%s is read as %v, %v", text, got, bad)
		}
	})
}

// Whatever is given as a date is refused or read, and never a panic.
func FuzzMoment(f *testing.F) {
	for _, s := range []string{"2025-12-01", "2025-12-01T10:00:00.123Z", "2025-12-01T10:00 01:00", "2025-02-30", "9999-12-31", "0000-01-01", "2025-12-01T10:00:00-1200"} {
		f.Add(s)
	}
	loc, err := time.LoadLocation("Africa/Cairo")
	check(f, err)
	f.Fuzz(func(t *testing.T, s string) {
		m, bad := readMoment("start_date", s, loc)
		if bad != nil {
			if bad.Param != "start_date" || len(bad.Message) > 300 {
				t.Errorf("%q: %+v", s, bad)
			}
			return
		}
		if m.next.Before(m.first) || m.next.Sub(m.first) > 25*time.Hour {
			t.Errorf("%q is from %v to %v", s, m.first, m.next)
		}
	})
}

func TestPlain(t *testing.T) {
	for in, want := range map[string]string{"": "", "x": "x", "+31850835037": "+31850835037", "+31;x": "'+31;x", "=1+1": "'=1+1", "-1": "'-1",
		"@SUM(A1)": "'@SUM(A1)", "\tx": "'\tx", "+": "+", "anonymous": "anonymous"} {
		if got := plain(in); got != want {
			t.Errorf("plain(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestPeer(t *testing.T) {
	for in, want := range map[string]string{"192.0.2.1:5": "address:192.0.2.1", "[::ffff:192.0.2.1]:5": "address:192.0.2.1",
		"[2001:db8:1:2:3::4]:5": "address:2001:db8:1:2::/64", "[fe80::1%eth0]:5": "address:fe80::/64", "@": "address:@", "": "address:"} {
		if got := Peer(in); got != want {
			t.Errorf("Peer(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestClip(t *testing.T) {
	for in, want := range map[string]string{"x": "x", "\xff": "?", strings.Repeat("é", 31): strings.Repeat("é", 30) + "...",
		"a" + strings.Repeat("é", 30): "a" + strings.Repeat("é", 29) + "..."} {
		if got := clip(in); got != want {
			t.Errorf("clip(%q) = %q, want %q", in, got, want)
		}
	}
}

// backends run the script of the rate limit.
func backends(t *testing.T) map[string]redis.UniversalClient {
	clients := map[string]redis.UniversalClient{}
	for name, url := range map[string]string{"redis": services.Redis(t).URL, "miniredis": "redis://" + miniredis.RunT(t).Addr() + "/0"} {
		rdb, err := balance.Dial(balance.DialConfig{URL: url, Timeout: 5 * time.Second})
		check(t, err)
		t.Cleanup(func() { check(t, rdb.Close()) })
		clients[name] = rdb
	}
	return clients
}

func testLimiter(rdb redis.UniversalClient, limit int, now *time.Time) *limiter {
	cfg := Config{Redis: rdb, Limit: limit, RedisTimeout: 5 * time.Second, Now: func() time.Time { return *now }}.withDefaults()
	return newLimiter(&cfg)
}

// The script and the count that stands in for it are the same function, whatever the clocks of the sidecars say: the
// script only forgets as well what is over by the clock of whoever comes.
func TestScriptIsTheLocalLimiter(t *testing.T) {
	for name, rdb := range backends(t) {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				if err := rdb.Del(context.Background(), windowsKey, endsKey).Err(); err != nil {
					rt.Fatal(err)
				}
				now := time.UnixMilli(1_766_232_000_000)
				l := testLimiter(rdb, rapid.IntRange(1, 4).Draw(rt, "limit"), &now)
				for range rapid.IntRange(1, 40).Draw(rt, "requests") {
					now = now.Add(time.Duration(rapid.Int64Range(-5_000, 20_000).Draw(rt, "step")) * time.Millisecond)
					if rapid.IntRange(0, 20).Draw(rt, "jump") == 0 {
						now = now.Add(time.Duration(rapid.Int64Range(-300, 300).Draw(rt, "seconds")) * time.Second)
					}
					bucket := fmt.Sprint(rapid.IntRange(0, removedPerCall-1).Draw(rt, "bucket"))
					ok, w := l.local.take(bucket, now.UnixMilli(), l.window.Milliseconds(), l.limit)
					for b, w := range l.local.windows {
						if w.end <= now.UnixMilli() {
							delete(l.local.windows, b)
						}
					}
					got, err := l.ask(context.Background(), bucket, now.UnixMilli())
					if err != nil || got.allowed != ok || got.count != w.count || got.end.UnixMilli() != w.end {
						rt.Fatalf("%s at %d: the script says %+v, %v; the local count %v %+v", bucket, now.UnixMilli(), got, err, ok, w)
					}
				}
			})
		})
	}
}

// What Redis keeps is bounded by the keys of the last minute, and all of it has a slot of its own.
func TestWindowsAreRemoved(t *testing.T) {
	for name, rdb := range backends(t) {
		t.Run(name, func(t *testing.T) {
			ctx := context.Background()
			now := time.UnixMilli(1_766_232_000_000)
			l := testLimiter(rdb, 5, &now)
			for i := range 500 {
				l.shared(ctx, fmt.Sprint("key-", i))
			}
			now = now.Add(time.Minute)
			for range 200 {
				l.shared(ctx, "key-x")
			}
			windows, err := rdb.HLen(ctx, windowsKey).Result()
			check(t, err)
			ends, err := rdb.ZCard(ctx, endsKey).Result()
			check(t, err)
			keys, err := rdb.Keys(ctx, "*").Result()
			check(t, err)
			if windows != 1 || ends != 1 || len(keys) != 2 {
				t.Errorf("%d windows, %d ends, keys %v", windows, ends, keys)
			}
		})
	}
}

// A flood of addresses or keys does not fill the memory, and does not push out what is still counted needlessly.
func TestKeptIsBounded(t *testing.T) {
	l := newLocalLimiter()
	for i := range 3 * keptWindows {
		l.take(fmt.Sprint(i), int64(i), 60_000, 1)
	}
	if n := len(l.windows); n > keptWindows {
		t.Errorf("%d windows", n)
	}
	now := time.UnixMilli(1_766_232_000_000)
	c := newKeyCache(nobody{}, func() time.Time { return now }, NewMetrics(nil))
	for range 2 * keptKeys {
		if _, err := c.find(context.Background(), fmt.Sprint(rand.Uint64())); err != errUnknownKey {
			t.Fatal(err)
		}
	}
	if n := len(c.known); n > keptKeys {
		t.Errorf("%d keys", n)
	}
}

// nobody knows no key.
type nobody struct{}

func (nobody) KeyByHash(context.Context, []byte) (ledger.APIKey, error) {
	return ledger.APIKey{}, ledger.ErrNotFound
}
func (nobody) TouchKeys(context.Context, map[string]time.Time) error { return nil }

// slow answers look-ups when it is told to.
type slow struct {
	nobody
	asked  chan []byte
	answer chan ledger.APIKey
}

func (s *slow) KeyByHash(ctx context.Context, hash []byte) (ledger.APIKey, error) {
	s.asked <- hash
	select {
	case k := <-s.answer:
		return k, nil
	case <-ctx.Done():
		return ledger.APIKey{}, ctx.Err()
	}
}

// A look-up under way when its key changes is used once and not remembered; waiting for one ends with the request;
// and many requests of one key make one look-up.
func TestKeyLookUps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slow{asked: make(chan []byte), answer: make(chan ledger.APIKey)}
		c := newKeyCache(s, time.Now, NewMetrics(nil))
		key := MintKey()
		hash := HashKey(key)
		results := make(chan error, 100)
		find := func(ctx context.Context) { _, err := c.find(ctx, key); results <- err }

		go find(t.Context())
		<-s.asked
		c.invalidate(ledger.APIKey{Hash: hash[:]}, ledger.APIKey{})
		s.answer <- ledger.APIKey{ID: "old", Hash: hash[:]}
		check(t, <-results)
		if len(c.known) != 0 {
			t.Error("a look-up from before the change is remembered")
		}

		for range lookups {
			go find(t.Context())
			<-s.asked
		}
		const patience = 100 * time.Millisecond
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		go find(ctx)
		if err := <-results; err != context.DeadlineExceeded {
			t.Errorf("waiting ended with %v", err)
		}
		for range 50 {
			go find(t.Context())
		}
		synctest.Wait()
		s.answer <- ledger.APIKey{ID: "new", Hash: hash[:]}
		for range 51 { // no further look-up: nobody receives from asked
			check(t, <-results)
		}
		for range lookups - 1 {
			s.answer <- ledger.APIKey{ID: "new", Hash: hash[:]}
			check(t, <-results)
		}

		time.Sleep(keyLifetime - patience - 1) // from before the look-up
		go find(t.Context())
		check(t, <-results)
		time.Sleep(time.Nanosecond)
		go find(t.Context())
		<-s.asked
		s.answer <- ledger.APIKey{ID: "other", Hash: []byte("not the one that was asked for")}
		if err := <-results; err != errUnknownKey {
			t.Errorf("a key of another hash: %v", err)
		}
	})
}

// What comes from a store as an error never shows its words.
func TestStoreErrors(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
	}{{ledger.ErrUnavailable, 503}, {ledger.ErrSchema, 503}, {context.DeadlineExceeded, 503}, {fmt.Errorf("x: %w", ledger.ErrNotFound), 500},
		{invalid("limit", "is wrong"), 400}} {
		if e := storeError(fmt.Errorf("wrapped: %w", c.err)); e.Status != c.status || strings.Contains(e.Message, "wrapped") {
			t.Errorf("%v: %+v", c.err, e)
		}
	}
	for status, want := range map[int]string{400: TypeRequest, 401: TypeAuthentication, 402: TypeBilling, 403: TypePermission, 404: TypeRequest,
		409: TypeRequest, 413: TypeRequest, 429: TypeRateLimit, 500: TypeServer, 503: TypeServer} {
		if got := typeOf(status); got != want {
			t.Errorf("%d is a %s, want %s", status, got, want)
		}
	}
}
