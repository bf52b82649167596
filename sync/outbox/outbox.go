package outbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/sync/ledger"
)

// Ledger takes the records in.
type Ledger interface {
	Ingest(ctx context.Context, records []authz.Record, then ...ledger.Then) ([]ledger.Result, error)
	SetAside(ctx context.Context, refused ...ledger.RefusedRecord) error
}

// Owners says who is alive and who may read a partition (package authz/balance).
type Owners interface {
	Living(ctx context.Context, now int64) (map[int64]bool, error)
	Lease(ctx context.Context, name, holder string, now, until int64) (bool, error)
	// Bases are the seqs up to which the records of rebuilt accounts are not in
	// their books, unless the ledger had them then.
	Bases(ctx context.Context, accounts []string) (map[string]int64, error)
}

// Config of a Reader. The zero value of a field is its default.
type Config struct {
	Streams []string      // key of each partition's stream
	Holder  string        // this sidecar's name, unique in the deployment
	Epoch   func() int64  // its fencing epoch: its place among the living
	Batch   int           // records of one partition read at a time at most; 500
	Most    int           // records in one transaction; 1000
	Poll    time.Duration // between two looks while nothing comes; 200 ms
	Lease   time.Duration // of a partition; 10 s
	Timeout time.Duration // of one question to Redis; 2 s
	Commit  time.Duration // of one transaction; 30 s
	Then    []ledger.Then // what else happens in each transaction
	// Notices takes what comes about calls that go on, in its order, before the records that came with it. An error has
	// all of them read again. nil: they are dropped.
	Notices func(ctx context.Context, notices []authz.Notice) error
	// Late is told of an account that was rebuilt while a record of it was on its
	// way into the ledger: it must be rebuilt again. nil: nobody is.
	Late func(account string)
}

func (c Config) withDefaults() Config {
	def := func(v *time.Duration, d time.Duration) {
		if *v == 0 {
			*v = d
		}
	}
	def(&c.Poll, 200*time.Millisecond)
	def(&c.Lease, 10*time.Second)
	def(&c.Timeout, 2*time.Second)
	def(&c.Commit, 30*time.Second)
	if c.Batch == 0 {
		c.Batch = 500
	}
	if c.Most == 0 {
		c.Most = 1000
	}
	return c
}

const (
	group    = "ledger"
	consumer = "reader"
	// recheck is how often what is pending is looked at although nothing failed
	// here: a Redis that went back has entries pending that nobody works on.
	recheck = 3 * time.Second
	// waitMost bounds the pause after failures.
	waitMost = 2 * time.Second
)

// Reader reads the outbox into the ledger.
type Reader struct {
	cfg    Config
	rdb    redis.UniversalClient
	ledger Ledger
	owners Owners
	log    *slog.Logger
	met    *Metrics

	mu   sync.Mutex
	held map[int]*partition
	full int // partitions that had more than they were asked for, the last time
	look chan struct{}
	news map[string]int64 // lowest seq of the records that came into the ledger, by account; only once's
}

// partition is one that this sidecar reads.
type partition struct {
	stream  string
	pending bool      // what an earlier reader left comes first
	checked time.Time // when nothing was left
	made    bool      // the consumer group exists
}

// New makes a Reader. met may be nil.
func New(cfg Config, rdb redis.UniversalClient, l Ledger, owners Owners, log *slog.Logger, met *Metrics) *Reader {
	if met == nil {
		met = NewMetrics(nil)
	}
	return &Reader{cfg: cfg.withDefaults(), rdb: rdb, ledger: l, owners: owners, log: log, met: met, held: map[int]*partition{}, look: make(chan struct{}, 1),
		news: map[string]int64{}}
}

// Run reads until ctx is done. What goes wrong is logged once and tried again.
func (r *Reader) Run(ctx context.Context) {
	var wg sync.WaitGroup
	wg.Go(func() { r.keepLeases(ctx) })
	wg.Go(func() { r.count(ctx) })
	r.read(ctx)
	wg.Wait()
}

// Drain reads what is left in this sidecar's share of the partitions, until they
// are empty or ctx is done, and gives them up.
func (r *Reader) Drain(ctx context.Context) error {
	defer r.giveUp()
	// A sidecar that stops soon after its start holds none yet.
	err := r.share(ctx)
	for err == nil {
		// Of these only what an earlier reader left is looked at first.
		pending := r.pending()
		var n int
		if n, err = r.once(ctx); err == nil && n == 0 && !pending {
			return nil
		}
	}
	return fmt.Errorf("outbox not read to its end: %w", err)
}

// pending tells whether an earlier reader may have left something in a partition.
func (r *Reader) pending() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.held {
		if p.pending {
			return true
		}
	}
	return false
}

func (r *Reader) read(ctx context.Context) {
	failing := false
	wait := time.Duration(0)
	for ctx.Err() == nil {
		n, err := r.once(ctx)
		switch {
		case err != nil && ctx.Err() == nil:
			r.met.failures.Inc()
			if !failing {
				r.log.Error("outbox does not reach the ledger; records wait in Redis", "error", err)
			}
			failing = true
			if wait = min(max(2*wait, r.cfg.Poll), waitMost); n > 0 { // the other partitions have more
				continue
			}
		case n > 0:
			if failing {
				r.log.Info("outbox reaches the ledger again")
			}
			failing, wait = false, 0
			continue
		case err == nil:
			failing, wait = false, r.cfg.Poll
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-r.look:
		case <-ctx.Done():
		}
		t.Stop()
	}
}

// entry is one record of a stream with the text it came as.
type entry struct {
	stream, id, raw string
	deleted         bool // only its acknowledgement is missing
}

// once reads a batch of every partition held, commits it and acknowledges it.
// It tells how many records that were; where some partitions failed, there is an
// error too.
func (r *Reader) once(ctx context.Context) (n int, err error) {
	entries, err := r.fetch(ctx)
	for len(entries) > 0 {
		some := entries[:min(len(entries), r.cfg.Most)]
		e := r.commit(ctx, some)
		if e == nil {
			e = r.late(ctx)
		}
		if e == nil {
			e = r.ack(ctx, some)
		}
		if e != nil {
			r.again(entries)
			return n, e
		}
		entries = entries[len(some):]
		n += len(some)
	}
	return n, err
}

// again has the partitions of these entries read their pending ones first.
func (r *Reader) again(entries []entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range entries {
		for _, p := range r.held {
			if p.stream == e.stream {
				p.pending = true
			}
		}
	}
}

// fetch asks every partition in one pipeline that does not block. Partitions
// that fail do not keep the others back.
func (r *Reader) fetch(ctx context.Context) ([]entry, error) {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Timeout)
	defer cancel()
	r.mu.Lock()
	all := slices.Collect(maps.Values(r.held))
	r.mu.Unlock()
	parts, failed := r.makeGroups(ctx, all)
	if len(parts) == 0 {
		return nil, failed
	}
	pipe := r.rdb.Pipeline()
	cmds := make([]*redis.XStreamSliceCmd, len(parts))
	left := make([]bool, len(parts))
	r.mu.Lock()
	count := r.perPartition(len(parts))
	for i, p := range parts {
		from := ">"
		if left[i] = p.pending || time.Since(p.checked) > recheck; left[i] {
			from = "0"
		}
		cmds[i] = pipe.XReadGroup(ctx, &redis.XReadGroupArgs{Group: group, Consumer: consumer, Streams: []string{p.stream, from},
			Count: int64(count), Block: -1})
	}
	r.mu.Unlock()
	_, _ = pipe.Exec(ctx) // each command has its own error
	var out []entry
	r.mu.Lock()
	defer r.mu.Unlock()
	r.full = 0
	for i, c := range cmds {
		p := parts[i]
		if err := c.Err(); err != nil && !errors.Is(err, redis.Nil) {
			// What Redis may have given out all the same is pending now.
			p.pending = true
			p.made = p.made && !redis.HasErrorPrefix(err, "NOGROUP")
			failed = fmt.Errorf("read outbox: %w", err)
			continue
		}
		n := 0
		for _, s := range c.Val() {
			for _, m := range s.Messages {
				out = append(out, newEntry(s.Stream, &m))
				n++
			}
		}
		if n == count {
			r.full++
		}
		if left[i] && n == 0 {
			p.pending, p.checked = false, time.Now()
			poke(r.look)
		}
	}
	return out, failed
}

// perPartition is how many records of each partition are read at a time: all
// together about what one transaction takes. Redis answers a pipeline without a
// pause, and calls wait meanwhile: after the ledger was away every partition is
// full.
func (r *Reader) perPartition(parts int) int {
	if r.full == 0 {
		return min(r.cfg.Batch, max(1, r.cfg.Most/parts))
	}
	return min(r.cfg.Batch, max(1, r.cfg.Most/r.full))
}

func newEntry(stream string, m *redis.XMessage) entry {
	e := entry{stream: stream, id: m.ID, deleted: m.Values == nil}
	raw, ok := m.Values["r"].(string)
	if !ok && !e.deleted {
		raw = fmt.Sprint(m.Values) // no record: set aside as it is
	}
	e.raw = raw
	return e
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// makeGroups makes the consumer group of streams that have none yet, and gives
// the partitions that have one.
func (r *Reader) makeGroups(ctx context.Context, parts []*partition) (ready []*partition, failed error) {
	pipe := r.rdb.Pipeline()
	var without []*partition
	for _, p := range parts {
		if p.made {
			ready = append(ready, p)
			continue
		}
		pipe.XGroupCreateMkStream(ctx, p.stream, group, "0")
		without = append(without, p)
	}
	if len(without) == 0 {
		return ready, nil
	}
	cmds, _ := pipe.Exec(ctx) // each command has its own error
	for i, c := range cmds {
		if err := c.Err(); err != nil && !redis.HasErrorPrefix(err, "BUSYGROUP") {
			failed = fmt.Errorf("make consumer group: %w", err)
			continue
		}
		without[i].made = true
		ready = append(ready, without[i])
	}
	return ready, failed
}

// commit takes the entries into the ledger. What can never be a call is set
// aside and holds nothing up.
func (r *Reader) commit(ctx context.Context, entries []entry) error {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Commit)
	defer cancel()
	start := time.Now()
	records := make([]authz.Record, 0, len(entries))
	texts := make([]string, 0, len(entries))
	var aside []ledger.RefusedRecord
	var notices []authz.Notice
	for _, e := range entries {
		if e.deleted {
			continue
		}
		if authz.IsNotice(e.raw) {
			n, err := authz.ParseNotice(e.raw)
			if err != nil {
				aside = append(aside, ledger.RefusedRecord{Raw: []byte(e.raw), Reason: err.Error()})
				continue
			}
			notices = append(notices, n)
			continue
		}
		rec, err := authz.ParseRecord(e.raw)
		if err != nil {
			aside = append(aside, ledger.RefusedRecord{Raw: []byte(e.raw), Reason: err.Error()})
			continue
		}
		records, texts = append(records, rec), append(texts, e.raw)
	}
	if len(notices) > 0 && r.cfg.Notices != nil {
		if err := r.cfg.Notices(ctx, notices); err != nil {
			return err
		}
	}
	results, err := r.ledger.Ingest(ctx, records, r.cfg.Then...)
	if err != nil {
		return err
	}
	for i, res := range results {
		switch res.Outcome {
		case ledger.Refused:
			aside = append(aside, ledger.RefusedRecord{Raw: []byte(texts[i]), Reason: reason(res.Err)})
		case ledger.Inserted, ledger.Replaced:
			rec := &records[i]
			ended := rec.State == authz.StateSettled || rec.State == authz.StateLost
			if lowest, known := r.news[rec.Account]; ended && (!known || rec.Seq < lowest) {
				r.news[rec.Account] = rec.Seq
			}
		}
	}
	if len(aside) > 0 {
		if err := r.ledger.SetAside(ctx, aside...); err != nil {
			return err
		}
		r.log.Error("records that the ledger cannot take were set aside; see: ringfence outbox refused", "records", len(aside), "first", aside[0].Reason)
		r.met.records.WithLabelValues(string(ledger.Refused)).Add(float64(len(aside)))
	}
	for _, res := range results {
		if res.Outcome != ledger.Refused {
			r.met.records.WithLabelValues(string(res.Outcome)).Inc()
		}
	}
	r.met.batch.Observe(float64(len(entries)))
	r.met.commit.Observe(time.Since(start).Seconds())
	return nil
}

// late tells of accounts that were rebuilt, without a record, while this reader
// had it: Redis lost the outbox, and with it the entry, before the ledger had it.
// Where Redis does not answer it is asked again with the next batch.
func (r *Reader) late(ctx context.Context) error {
	if len(r.news) == 0 || r.cfg.Late == nil {
		clear(r.news)
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Timeout)
	defer cancel()
	bases, err := r.owners.Bases(ctx, slices.Collect(maps.Keys(r.news)))
	if err != nil {
		return err
	}
	for account, base := range bases {
		if r.news[account] <= base {
			r.log.Warn("a record came into the ledger after its account had been rebuilt without it; the account is rebuilt again", "account", account)
			r.cfg.Late(account)
		}
	}
	clear(r.news)
	return nil
}

func reason(err error) string {
	var refused *ledger.RefusedError
	if errors.As(err, &refused) {
		return refused.Reason
	}
	if err == nil {
		return "refused"
	}
	return err.Error()
}

// ack forgets what the ledger has, in one pipeline.
func (r *Reader) ack(ctx context.Context, entries []entry) error {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Timeout)
	defer cancel()
	ids := map[string][]string{}
	for _, e := range entries {
		ids[e.stream] = append(ids[e.stream], e.id)
	}
	// Deleted first: one that is deleted and not acknowledged is pending still, and
	// acknowledged later; the other way round it would be read by nobody and counted
	// for ever. (On Redis Cluster no transaction can do both for several streams.)
	pipe := r.rdb.Pipeline()
	for stream, list := range ids {
		pipe.XDel(ctx, stream, list...)
		pipe.XAck(ctx, stream, group, list...)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("acknowledge outbox: %w", err)
	}
	return nil
}
