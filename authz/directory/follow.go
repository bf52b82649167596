package directory

import (
	"context"
	"errors"
	"sync"
	"time"
)

// freshFor is how long the directory counts as up to date after its source has
// last answered.
const freshFor = 3 * time.Second

// Status is what an operator wants to know of a directory.
type Status struct {
	Ready    bool      `json:"ready"`
	Fresh    bool      `json:"fresh"`
	From     string    `json:"from,omitempty"`    // snapshot or source
	Problem  string    `json:"problem,omitempty"` // why it is not ready or not fresh
	Synced   time.Time `json:"synced,omitzero"`   // when the source last answered
	Snapshot time.Time `json:"snapshot,omitzero"` // when the newest snapshot was taken
	Accounts int       `json:"accounts"`
	Numbers  int       `json:"numbers"`
	Tariffs  int       `json:"tariffs"`
}

// Status tells how the directory stands.
func (d *Directory) Status() Status {
	d.state.Lock()
	s := Status{Ready: d.Ready(), Fresh: d.isFresh(), From: d.from, Problem: d.problem, Synced: d.synced, Snapshot: d.snapshot}
	d.state.Unlock()
	d.mu.RLock()
	s.Accounts, s.Numbers, s.Tariffs = len(d.t.accounts), d.t.count, len(d.t.tariffs)
	d.mu.RUnlock()
	return s
}

// Fresh tells whether the directory follows its source. Where it does not, an
// account or number that it does not know may be a new one: unknown, not absent.
func (d *Directory) Fresh() bool {
	d.state.Lock()
	defer d.state.Unlock()
	return d.isFresh()
}

func (d *Directory) isFresh() bool {
	return d.Ready() && !d.lost && d.from == fromSource && time.Since(d.synced) < freshFor
}

const (
	fromSource   = "source"
	fromSnapshot = "snapshot"
)

// Run reads the snapshot, then follows the source until ctx is done, and writes
// a last snapshot before it returns. What goes wrong with the source is told by
// Status and does not end it.
func (d *Directory) Run(ctx context.Context) {
	d.running.Store(true)
	defer d.running.Store(false)
	d.restore()
	var saver sync.WaitGroup
	defer saver.Wait()
	saver.Go(func() { d.keepSnapshots(ctx) })
	wait := time.NewTimer(0)
	defer wait.Stop()
	failed := 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-wait.C:
		case <-d.wake:
		}
		more, err := d.step(ctx)
		if ctx.Err() != nil {
			return
		}
		d.report(err)
		switch {
		case err != nil:
			failed++
			wait.Reset(min(d.cfg.Poll<<min(failed, 8), max(time.Second, d.cfg.Poll)))
		case more:
			failed = 0
			wait.Reset(0)
		default:
			failed = 0
			wait.Reset(d.cfg.Poll)
		}
	}
}

// step asks the source once. It tells whether there is more to ask for at once.
func (d *Directory) step(ctx context.Context) (more bool, err error) {
	d.state.Lock()
	pos, back := d.pos, d.gone
	d.state.Unlock()
	switch {
	case pos.Gen == "":
		return true, d.load(ctx, "start")
	case back:
		// It held nothing the last time: what it holds by now may be anything.
		return true, d.load(ctx, "lost")
	}
	ask, cancel := context.WithTimeout(ctx, d.cfg.Timeout)
	defer cancel()
	batch, err := d.cfg.Source.Changes(ask, pos)
	if errors.Is(err, ErrGap) {
		return true, d.load(ctx, "gap")
	}
	if err != nil {
		return false, err
	}
	d.unreadable(batch.Unreadable)
	d.apply(batch.Changes)
	d.state.Lock()
	d.pos, d.from = batch.Next, fromSource
	d.state.Unlock()
	return batch.More, nil
}

// load reads everything. What the source lacks of what is known here is kept,
// unless the source was filled anew from the durable truth.
func (d *Directory) load(ctx context.Context, why string) error {
	ask, cancel := context.WithTimeout(ctx, d.cfg.LoadTime)
	defer cancel()
	start := time.Now()
	image, err := d.cfg.Source.Load(ask)
	if err != nil {
		return err
	}
	d.unreadable(image.Unreadable)
	d.state.Lock()
	known := d.pos.Gen
	d.state.Unlock()
	kept := d.replace(&image, known != "" && (known == image.Position.Gen || !image.Complete))
	d.state.Lock()
	d.pos, d.from, d.lost = image.Position, fromSource, kept > 0
	d.state.Unlock()
	signal(d.unsaved) // a snapshot begun before the position was known is not written
	d.met.loads.WithLabelValues(why).Inc()
	d.log.Info("directory loaded", "reason", why, "entries", len(image.Entries), "took", time.Since(start))
	if kept > 0 {
		d.log.Error("the directory's source lacks accounts, numbers or tariffs that were never removed; they are kept here",
			"kept", kept, "remedy", remedyLost)
	}
	return nil
}

const remedyLost = "fill Redis again from the ledger; until then this sidecar serves what it knows"

// replace puts an image in the place of what is known. With keep, what the
// image lacks stays, and is counted; so does what could not be read.
func (d *Directory) replace(image *Image, keep bool) (kept int) {
	d.writers.Lock()
	defer d.writers.Unlock()
	var old *tables
	if keep || len(image.Unreadable) > 0 {
		old = d.t
	}
	t, kept, problems := build(image.Entries, old)
	d.unreadable(problems)
	d.mu.Lock()
	d.t = t
	d.mu.Unlock()
	if !d.loaded.Swap(true) {
		close(d.first)
	}
	d.counted()
	signal(d.unsaved)
	if !keep {
		kept = 0
	}
	return kept
}

// unreadableShown bounds the log of one load.
const unreadableShown = 10

func (d *Directory) unreadable(errs []error) {
	d.met.unreadable.Add(float64(len(errs)))
	for i, err := range errs {
		if i == unreadableShown {
			d.log.Error("further directory entries cannot be used", "more", len(errs)-i)
			return
		}
		d.log.Error("directory entry cannot be used as it is", "error", err)
	}
}

// report notes how the source answered, and logs when that changes.
func (d *Directory) report(err error) {
	d.state.Lock()
	defer d.state.Unlock()
	before := d.trouble
	switch {
	case errors.Is(err, ErrLost):
		d.trouble = troubleEmpty
		d.problem = problemEmpty
		if d.pos.Gen != "" {
			d.lost, d.gone = true, true
			d.trouble, d.problem = troubleLost, d.problemLost()
		}
	case err != nil:
		d.met.failures.Inc()
		d.trouble, d.problem = troubleSilent, "the source does not answer: "+err.Error()
	default:
		d.synced, d.gone = time.Now(), false
		d.met.synced.Set(float64(d.synced.Unix()))
		d.trouble, d.problem = troubleNone, ""
		if d.lost {
			d.trouble, d.problem = troubleLost, d.problemLost()
		}
	}
	d.met.fresh.Set(gauge(d.isFresh()))
	d.met.lost.Set(gauge(d.lost))
	switch {
	case d.trouble == before:
	case d.trouble == troubleNone:
		d.log.Info("directory follows its source again")
	default:
		d.log.Warn("directory does not follow its source", "problem", d.problem, "ready", d.Ready())
	}
}

// trouble is what goes wrong with the source, in a word, so that a change of it
// is logged once however the errors read.
type trouble string

const (
	troubleNone   trouble = ""
	troubleSilent trouble = "silent"
	troubleEmpty  trouble = "empty"
	troubleLost   trouble = "lost"
)

const problemEmpty = "Redis holds no directory: it is filled from the ledger as soon as that answers"

func (d *Directory) problemLost() string {
	p := "Redis has lost accounts, numbers or tariffs; " + remedyLost
	if d.cfg.Snapshot != "" {
		p += " (to begin anew instead: stop, remove " + d.cfg.Snapshot + ", start)"
	}
	return p
}

func gauge(on bool) float64 {
	if on {
		return 1
	}
	return 0
}
