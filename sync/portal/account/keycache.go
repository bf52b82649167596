package account

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"sync"
	"time"

	"github.com/hmsovereign/ringfence/sync/ledger"
)

// KeyLookup finds keys and notes their use (package ledger). Errors:
// ledger.ErrNotFound, ErrUnavailable.
type KeyLookup interface {
	KeyByHash(ctx context.Context, hash []byte) (ledger.APIKey, error)
	TouchKeys(ctx context.Context, used map[string]time.Time) error
}

type keyHash = [sha256.Size]byte

const (
	// keyLifetime is how long a look-up counts, from before it was made. It is
	// what bounds a revoked key even where nobody calls Invalidate: a second.
	keyLifetime = 900 * time.Millisecond
	// keptKeys bounds how many look-ups are remembered, unknown keys included.
	keptKeys = 16_384
	// lookups bounds how many are made at once, so that a flood of invented keys
	// does not take the ledger's connections from everybody else.
	lookups = 4
)

// errUnknownKey: there is no such key.
var errUnknownKey = errors.New("unknown API key")

// keyCache remembers look-ups of keys for a moment.
type keyCache struct {
	from KeyLookup
	now  func() time.Time
	met  *Metrics
	turn chan struct{}

	mu    sync.Mutex
	known map[keyHash]knownKey
	gen   uint64 // counts invalidations
	used  map[string]time.Time
}

// knownKey is a look-up: of a key, or of none.
type knownKey struct {
	key   ledger.APIKey
	none  bool
	until time.Time
}

func newKeyCache(from KeyLookup, now func() time.Time, met *Metrics) *keyCache {
	return &keyCache{from: from, now: now, met: met, turn: make(chan struct{}, lookups),
		known: make(map[keyHash]knownKey), used: make(map[string]time.Time)}
}

// find gives what is known of a key. Errors: errUnknownKey, those of the ledger
// and of the context.
func (c *keyCache) find(ctx context.Context, key string) (ledger.APIKey, error) {
	hash := HashKey(key)
	if k, ok := c.remembered(hash); ok {
		return k.answer()
	}
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-ctx.Done():
		return ledger.APIKey{}, ctx.Err()
	}
	if k, ok := c.remembered(hash); ok { // by whoever went before
		return k.answer()
	}
	c.mu.Lock()
	gen := c.gen
	c.mu.Unlock()
	found := knownKey{until: c.now().Add(keyLifetime)}
	var err error
	found.key, err = c.from.KeyByHash(ctx, hash[:])
	switch {
	case errors.Is(err, ledger.ErrNotFound):
		found.none = true
		c.met.lookups.WithLabelValues("unknown").Inc()
	case err != nil:
		c.met.lookups.WithLabelValues("error").Inc()
		return ledger.APIKey{}, err
	case subtle.ConstantTimeCompare(found.key.Hash, hash[:]) != 1:
		// A database that compares otherwise than byte by byte is not to let anybody in.
		found = knownKey{none: true, until: found.until}
		c.met.lookups.WithLabelValues("unknown").Inc()
	default:
		c.met.lookups.WithLabelValues("found").Inc()
	}
	c.remember(hash, found, gen)
	return found.answer()
}

func (k *knownKey) answer() (ledger.APIKey, error) {
	if k.none {
		return ledger.APIKey{}, errUnknownKey
	}
	return k.key, nil
}

func (c *keyCache) remembered(hash keyHash) (*knownKey, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k, ok := c.known[hash]
	if !ok || !c.now().Before(k.until) {
		return nil, false
	}
	return &k, true
}

// remember keeps a look-up, unless something was invalidated while it was made:
// it may have been that very key.
func (c *keyCache) remember(hash keyHash, k knownKey, gen uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gen != gen {
		return
	}
	if _, ok := c.known[hash]; !ok && len(c.known) >= keptKeys {
		c.prune()
	}
	c.known[hash] = k
}

// prune makes room: what is over goes, and where that is not enough, any
// quarter, so that a flood of keys does not look through all of them each time.
func (c *keyCache) prune() {
	now := c.now()
	for hash, k := range c.known {
		if !now.Before(k.until) {
			delete(c.known, hash)
		}
	}
	for hash := range c.known {
		if len(c.known) < keptKeys*3/4 {
			return
		}
		delete(c.known, hash)
	}
}

// invalidate forgets keys that were made or changed.
func (c *keyCache) invalidate(keys ...ledger.APIKey) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gen++
	for i := range keys {
		if len(keys[i].Hash) == sha256.Size {
			delete(c.known, keyHash(keys[i].Hash))
		}
	}
}

// touch notes the use of a key, to be written later.
func (c *keyCache) touch(id string, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.used[id] = at
}

// flush writes what touch has gathered. What could not be written is gathered
// again, unless there is too much of it.
func (c *keyCache) flush(ctx context.Context) error {
	c.mu.Lock()
	used := c.used
	c.used = make(map[string]time.Time)
	c.mu.Unlock()
	if len(used) == 0 {
		return nil
	}
	err := c.from.TouchKeys(ctx, used)
	if err == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, at := range used {
		if _, newer := c.used[id]; !newer && len(c.used) < keptKeys {
			c.used[id] = at
		}
	}
	return err
}
