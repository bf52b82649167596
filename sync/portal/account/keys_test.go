package account_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hmsovereign/ringfence/deploy/services"
	"github.com/hmsovereign/ringfence/sync/ledger"
	"github.com/hmsovereign/ringfence/sync/ledger/sqlite/sqlitetest"
	"github.com/hmsovereign/ringfence/sync/portal/account"
)

// Whatever is wrong with a key has its own answer.
func TestKeysThatDoNotWork(t *testing.T) {
	onLedgers(t, func(t *testing.T, r *rig) {
		key := r.open(t, "org-1", "UTC", 1)
		ending, kept, err := r.keys.Create(t.Context(), "org-1", "ends", today.Add(time.Hour))
		must(t, err)
		if r.get(t, ending, "account").status != 200 {
			t.Fatal("a key does not work before its end")
		}
		r.advance(time.Hour)
		revoked, gone, err := r.keys.Create(t.Context(), "org-1", "revoked", time.Time{})
		must(t, err)
		_, err = r.keys.Revoke(t.Context(), gone.ID)
		must(t, err)
		wrong := key[:len(key)-1] + string('0'+(key[len(key)-1]-'0'+1)%10)
		for _, c := range []struct{ what, header, code string }{
			{"none", "", "unauthorized"},
			{"no scheme", key, "unauthorized"},
			{"another scheme", "Basic " + key, "unauthorized"},
			{"empty", "Bearer ", "unauthorized"},
			{"wrong", "Bearer " + wrong, "unauthorized"},
			{"unknown", "Bearer " + account.MintKey(), "unauthorized"},
			{"SQL", "Bearer rf_live_' OR '1'='1", "unauthorized"},
			{"long", "Bearer rf_live_" + strings.Repeat("a", 5000), "unauthorized"},
			{"hash of a key", "Bearer " + kept.Prefix, "unauthorized"},
			{"expired", "Bearer " + ending, "api_key_expired"},
			{"revoked", "bearer  " + revoked, "api_key_revoked"},
		} {
			var header []string
			if c.header != "" {
				header = []string{"Authorization", c.header}
			}
			for _, path := range []string{"account", "usage", "calls", "statement"} {
				answer := r.get(t, "", path, header...)
				answer.refused(t, c.what, 401, c.code, "")
				if strings.Contains(answer.body, "rf_live_"+"a") || !strings.HasPrefix(answer.header.Get("WWW-Authenticate"), "Bearer") {
					t.Errorf("%s: %v %s", c.what, answer.header, answer.body)
				}
			}
		}
		if answer := r.get(t, ending, "account"); !strings.Contains(answer.body, "expired at 2025-12-20T13:00:00.000Z") {
			t.Error(answer.body)
		}
		if r.get(t, key, "account").status != 200 {
			t.Error("the key that is right does not work")
		}
	})
}

// Two keys are told apart by their hash alone, and neither is kept anywhere.
func TestKeyIsNotKept(t *testing.T) {
	onLedgers(t, func(t *testing.T, r *rig) {
		key := r.open(t, "org-1", "UTC", 1)
		all, err := r.keys.List(t.Context(), "org-1")
		must(t, err)
		hash := account.HashKey(key)
		if len(all) != 1 || string(all[0].Hash) != string(hash[:]) || !strings.HasPrefix(key, all[0].Prefix) || len(all[0].Prefix) != 12 {
			t.Errorf("kept: %+v", all)
		}
	})
}

// A revoked key stops at once where Invalidate is called, and within a second on a sidecar that nobody tells.
func TestRevokedKeyStops(t *testing.T) {
	onLedgers(t, func(t *testing.T, r *rig) {
		key := r.open(t, "org-1", "UTC", 1)
		cfg := r.cfg
		cfg.Now = time.Now
		other := account.New(cfg)
		untold, _ := r.serve(t, other)
		told := r.server
		ask := func(url string) int {
			server := r.server.URL
			r.server.URL = url
			defer func() { r.server.URL = server }()
			return r.get(t, key, "account").status
		}
		if ask(told.URL) != 200 || ask(untold.URL) != 200 {
			t.Fatal("the key does not work")
		}
		all, err := r.keys.List(t.Context(), "org-1")
		must(t, err)
		_, err = r.keys.Revoke(t.Context(), all[0].ID)
		must(t, err)
		if status := ask(told.URL); status != 401 {
			t.Errorf("after Invalidate the key answers %d", status)
		}
		start := time.Now()
		eventually(t, "the other sidecar refuses it", func() bool { return ask(untold.URL) == 401 })
		if took := time.Since(start); took > time.Second+500*time.Millisecond {
			t.Errorf("it took %v", took)
		}
	})
}

func TestRotate(t *testing.T) {
	onLedgers(t, func(t *testing.T, r *rig) {
		r.open(t, "org-1", "UTC", 1)
		old, first, err := r.keys.Create(t.Context(), "org-1", "ci", today.Add(100*time.Hour))
		must(t, err)
		r.advance(time.Hour)
		key, second, ending, err := r.keys.Rotate(t.Context(), first.ID, 2*time.Hour)
		must(t, err)
		if second.Name != "ci" || second.Account != "org-1" || !second.Expires.Equal(today.Add(101*time.Hour)) || !ending.Expires.Equal(today.Add(3*time.Hour)) {
			t.Errorf("made %+v, ends %+v", second, ending)
		}
		if r.get(t, old, "account").status != 200 || r.get(t, key, "account").status != 200 {
			t.Error("both keys are to work during the grace")
		}
		r.advance(2 * time.Hour)
		r.get(t, old, "account").refused(t, "after the grace", 401, "api_key_expired", "")
		if r.get(t, key, "account").status != 200 {
			t.Error("the new key does not work")
		}
		// One that ends sooner than the grace keeps its end.
		_, third, _, err := r.keys.Rotate(t.Context(), second.ID, account.MaxGrace)
		must(t, err)
		all, err := r.keys.List(t.Context(), "org-1")
		must(t, err)
		for _, k := range all {
			if k.ID == second.ID && !k.Expires.Equal(second.Expires) {
				t.Errorf("the end was moved to %v", k.Expires)
			}
		}
		for id, want := range map[string]error{first.ID: account.ErrKeyOver, "nothing": ledger.ErrNotFound} {
			if _, _, _, err := r.keys.Rotate(t.Context(), id, 0); !errors.Is(err, want) {
				t.Errorf("rotate %s: %v", id, err)
			}
		}
		if _, _, _, err := r.keys.Rotate(t.Context(), third.ID, -1); !errors.Is(err, account.ErrGrace) {
			t.Errorf("negative grace: %v", err)
		}
		if _, _, err := r.keys.Create(t.Context(), "nobody", "", time.Time{}); !errors.Is(err, ledger.ErrNotFound) {
			t.Errorf("key of nobody: %v", err)
		}
		if _, _, err := r.keys.Create(t.Context(), "org-1", "", today); !errors.Is(err, account.ErrPast) {
			t.Errorf("key that is over: %v", err)
		}
	})
}

// stubborn is a ledger that gives no key an end.
type stubborn struct{ *ledger.Ledger }

func (stubborn) ExpireKey(context.Context, string, time.Time) (ledger.APIKey, int64, error) {
	return ledger.APIKey{}, 0, ledger.ErrUnavailable
}

// A rotation that fails half-way leaves no key that nobody knows of.
func TestRotateFails(t *testing.T) {
	r := newRig(t, sqlitetest.Open(t), services.Redis(t))
	key := r.open(t, "org-1", "UTC", 1)
	all, err := r.keys.List(t.Context(), "org-1")
	must(t, err)
	keys := account.NewKeys(stubborn{r.ledger}, nil, nil, r.cfg.Log)
	if _, _, _, err := keys.Rotate(t.Context(), all[0].ID, time.Hour); !errors.Is(err, ledger.ErrUnavailable) {
		t.Errorf("error %v", err)
	}
	all, err = r.keys.List(t.Context(), "org-1")
	must(t, err)
	if len(all) != 2 || all[1].Revoked.IsZero() || !all[0].Expires.IsZero() || r.get(t, key, "account").status != 200 {
		t.Errorf("left: %+v", all)
	}
}

// The use of keys is written now and then, and once more at the end; what fails is tried again.
func TestLastUsed(t *testing.T) {
	r := newRig(t, sqlitetest.Open(t), services.Redis(t))
	key := r.open(t, "org-1", "UTC", 1)
	r.get(t, key, "account").into(t, new(accountAnswer))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); r.api.Run(ctx) }()
	cancel()
	<-done
	all, err := r.keys.List(t.Context(), "org-1")
	must(t, err)
	if !all[0].LastUsed.Equal(today) {
		t.Errorf("last used %v", all[0].LastUsed)
	}
}

// touched keeps what it was told of the use of keys.
type touched struct {
	mu    sync.Mutex
	fail  error
	calls []map[string]time.Time
}

func (*touched) KeyByHash(_ context.Context, hash []byte) (ledger.APIKey, error) {
	return ledger.APIKey{ID: "key-1", Account: "org-1", Hash: hash}, nil
}

func (f *touched) TouchKeys(_ context.Context, used map[string]time.Time) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, used)
	return f.fail
}

func TestUseIsWrittenInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		keys := &touched{fail: ledger.ErrUnavailable}
		people := &people{}
		api := account.New(account.Config{Keys: keys, Directory: people})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go api.Run(ctx)
		use(t, api)
		calls := func() int {
			keys.mu.Lock()
			defer keys.mu.Unlock()
			return len(keys.calls)
		}
		time.Sleep(10*time.Second - 1)
		synctest.Wait()
		if calls() != 0 {
			t.Error("written before its time")
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		keys.mu.Lock()
		keys.fail = nil
		keys.mu.Unlock()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if calls() != 2 || len(keys.calls[1]) != 1 {
			t.Errorf("written: %v", keys.calls)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if calls() != 2 {
			t.Error("written although nothing was used")
		}
		cancel()
		synctest.Wait()
	})
}
