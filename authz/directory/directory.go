package directory

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/tariff"
)

// Source is where a directory learns what there is.
type Source interface {
	// Load gives everything. Errors: ErrLost, ErrUnavailable.
	Load(ctx context.Context) (Image, error)
	// Changes gives what changed after a position, without waiting for more.
	// Errors: ErrGap, ErrLost, ErrUnavailable.
	Changes(ctx context.Context, after Position) (Batch, error)
}

// Mirror spreads a change to every sidecar.
type Mirror interface {
	// Put writes a change unless a later one of the same key is known. Errors:
	// ErrLost, ErrUnavailable.
	Put(ctx context.Context, c Change) error
}

// Config of a Directory. Zero durations are the defaults.
type Config struct {
	Source   Source
	Mirror   Mirror        // takes the changes made through this directory; nil: none does
	Snapshot string        // file; empty: none is read or written
	Poll     time.Duration // between two questions for changes, default 200 ms
	Timeout  time.Duration // of one such question, default 1 s
	LoadTime time.Duration // of a full load, default 1 min
	Save     time.Duration // between two snapshots, default 30 s
	Log      *slog.Logger
	Metrics  *Metrics
}

// Directory answers who an account, a number or a tariff is. Its look-ups may be
// called from any goroutine at any time; Run keeps it up to date.
type Directory struct {
	cfg Config
	log *slog.Logger
	met *Metrics

	writers sync.Mutex // one change at a time; look-ups do not take it
	mu      sync.RWMutex
	t       *tables
	loaded  atomic.Bool

	running atomic.Bool
	first   chan struct{} // closed when first loaded
	wake    chan struct{} // makes Run ask at once

	// Of Run, and read by Status.
	state    sync.Mutex
	pos      Position
	from     string // "snapshot" or "source"
	trouble  trouble
	problem  string
	lost     bool // the source lacks what is known here
	gone     bool // it held nothing at all when last asked
	synced   time.Time
	unsaved  chan struct{}
	snapshot time.Time // when the last one was written or, if read, when it had been
}

// New makes an empty directory.
func New(cfg Config) *Directory {
	cfg.Poll = cmp.Or(cfg.Poll, 200*time.Millisecond)
	cfg.Timeout = cmp.Or(cfg.Timeout, time.Second)
	cfg.LoadTime = cmp.Or(cfg.LoadTime, time.Minute)
	cfg.Save = cmp.Or(cfg.Save, 30*time.Second)
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Metrics == nil {
		cfg.Metrics = NewMetrics(nil)
	}
	return &Directory{cfg: cfg, log: cfg.Log, met: cfg.Metrics, t: newTables(),
		first: make(chan struct{}), wake: make(chan struct{}, 1), unsaved: make(chan struct{}, 1)}
}

// Ready tells whether the directory was loaded. Until then nothing can be said
// to be unknown.
func (d *Directory) Ready() bool { return d.loaded.Load() }

// Account finds an account, with Table and Location set. It is shared: treat it
// as read-only. One with a tariff that is not known here has a table without rates.
func (d *Directory) Account(id string) (*authz.Account, bool) {
	d.mu.RLock()
	e, ok := d.t.accounts[id]
	d.mu.RUnlock()
	return e.Account, ok
}

// Number finds a number by its E.164 form with the plus.
func (d *Directory) Number(e164 string) (authz.Number, bool) {
	d.mu.RLock()
	e, ok := d.t.numbers[e164]
	d.mu.RUnlock()
	return e.Number, ok && !e.removed
}

// Tariff finds a tariff. The one called "default" always exists.
func (d *Directory) Tariff(id string) (*tariff.Table, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.t.table(id)
}

// Accounts lists at most limit accounts whose ids sort after a given one, by id;
// limit 0 is all of them.
func (d *Directory) Accounts(after string, limit int) []*authz.Account {
	d.mu.RLock()
	out := make([]*authz.Account, 0, len(d.t.accounts))
	for id, e := range d.t.accounts {
		if id > after {
			out = append(out, e.Account)
		}
	}
	d.mu.RUnlock()
	slices.SortFunc(out, func(a, b *authz.Account) int { return cmp.Compare(a.ID, b.ID) })
	return first(out, limit)
}

// Numbers lists at most limit numbers that sort after a given one, of one
// account or, where that is empty, of all; limit 0 is all of them.
func (d *Directory) Numbers(account, after string, limit int) []authz.Number {
	d.mu.RLock()
	var out []authz.Number
	if account != "" {
		for _, e164 := range d.t.owned[account] {
			if e164 > after {
				out = append(out, d.t.numbers[e164].Number)
			}
		}
		d.mu.RUnlock()
		return first(out, limit)
	}
	out = make([]authz.Number, 0, len(d.t.numbers))
	for e164, e := range d.t.numbers {
		if !e.removed && e164 > after {
			out = append(out, e.Number)
		}
	}
	d.mu.RUnlock()
	slices.SortFunc(out, func(a, b authz.Number) int { return cmp.Compare(a.E164, b.E164) })
	return first(out, limit)
}

// NumberCount tells how many numbers an account has.
func (d *Directory) NumberCount(account string) int {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return len(d.t.owned[account])
}

// Tariffs lists the tariffs by id, the default included.
func (d *Directory) Tariffs() []*tariff.Table {
	d.mu.RLock()
	out := make([]*tariff.Table, 0, len(d.t.tariffs)+1)
	if _, put := d.t.tariffs[DefaultTariff]; !put {
		out = append(out, d.t.fallback)
	}
	for _, e := range d.t.tariffs {
		out = append(out, e.Table)
	}
	d.mu.RUnlock()
	slices.SortFunc(out, func(a, b *tariff.Table) int { return cmp.Compare(a.ID(), b.ID()) })
	return out
}

func first[T any](s []T, limit int) []T {
	if limit > 0 && len(s) > limit {
		return slices.Clip(s[:limit])
	}
	return s
}

// PutAccount takes in a change that the book has recorded at revision rev, here
// at once and everywhere else through the mirror. Errors: those of Mirror; the
// change is known here nevertheless.
func (d *Directory) PutAccount(ctx context.Context, rev int64, a authz.Account) error {
	return d.put(ctx, Change{Kind: KindAccount, Key: a.ID, Rev: rev, Account: &a})
}

// PutNumber is PutAccount for a number.
func (d *Directory) PutNumber(ctx context.Context, rev int64, n authz.Number) error {
	return d.put(ctx, Change{Kind: KindNumber, Key: n.E164, Rev: rev, Number: &n})
}

// DropNumber is PutAccount for a number that was removed.
func (d *Directory) DropNumber(ctx context.Context, rev int64, e164 string) error {
	return d.put(ctx, Change{Kind: KindNumber, Key: e164, Rev: rev})
}

// PutTariff is PutAccount for a tariff.
func (d *Directory) PutTariff(ctx context.Context, rev int64, t *tariff.Table) error {
	return d.put(ctx, Change{Kind: KindTariff, Key: t.ID(), Rev: rev, Tariff: t})
}

func (d *Directory) put(ctx context.Context, c Change) error {
	var err error
	if d.cfg.Mirror != nil {
		err = d.cfg.Mirror.Put(ctx, c)
	}
	d.apply([]Change{c})
	d.settle(ctx)
	return err
}

// settle waits, for a moment, until a directory that had nothing to load is
// loaded: the first change of a new deployment is known here when it is told of.
func (d *Directory) settle(ctx context.Context) {
	if d.Ready() || !d.running.Load() {
		return
	}
	signal(d.wake)
	ctx, cancel := context.WithTimeout(ctx, d.cfg.Timeout)
	defer cancel()
	select {
	case <-d.first:
	case <-ctx.Done():
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// apply takes changes in, but for those that are older than what is known.
func (d *Directory) apply(changes []Change) {
	d.writers.Lock()
	defer d.writers.Unlock()
	applied := 0
	for i := range changes {
		c := &changes[i]
		if c.Rev <= d.t.rev(c) {
			continue
		}
		applied++
		if c.Account != nil {
			resolved := *c
			resolved.Account = d.resolve(c.Account)
			c = &resolved
		}
		d.mu.Lock()
		d.t.put(c)
		d.mu.Unlock()
		if c.Kind == KindTariff {
			d.reprice(c.Key)
		}
	}
	if applied == 0 {
		return
	}
	d.met.changes.Add(float64(applied))
	d.counted()
	signal(d.unsaved)
}

func (d *Directory) resolve(a *authz.Account) *authz.Account {
	r, err := d.t.resolve(a)
	if err != nil {
		d.met.unreadable.Inc()
		d.log.Error("account is not complete", "error", err)
	}
	return r
}

// repriceStep bounds how long look-ups wait while a tariff that many accounts
// have is replaced.
const repriceStep = 1024

// reprice gives a tariff's accounts its new table.
func (d *Directory) reprice(id string) {
	var todo []accountEntry
	for _, e := range d.t.accounts { // only writers change the maps, and we are the one
		if e.Tariff == id || id == DefaultTariff && e.Tariff == "" {
			todo = append(todo, accountEntry{d.resolve(e.Account), e.rev})
		}
	}
	for step := range slices.Chunk(todo, repriceStep) {
		d.mu.Lock()
		for _, e := range step {
			d.t.accounts[e.ID] = e
		}
		d.mu.Unlock()
	}
}

// counted shows the sizes; the caller holds writers.
func (d *Directory) counted() {
	d.met.entries.WithLabelValues(string(KindAccount)).Set(float64(len(d.t.accounts)))
	d.met.entries.WithLabelValues(string(KindNumber)).Set(float64(d.t.count))
	d.met.entries.WithLabelValues(string(KindTariff)).Set(float64(len(d.t.tariffs)))
}
