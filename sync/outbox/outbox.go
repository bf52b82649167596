package outbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
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
}

// Config of a Reader. The zero value of a field is its default.
type Config struct {
	Streams []string      // key of each partition's stream
	Holder  string        // this sidecar's name, unique in the deployment
	Epoch   func() int64  // its fencing epoch: its place among the living
	Batch   int           // records of one partition in one transaction; 500
	Poll    time.Duration // between two looks while nothing comes; 200 ms
	Lease   time.Duration // of a partition; 10 s
	Timeout time.Duration // of one question to Redis; 2 s
	Commit  time.Duration // of one transaction; 30 s
	Then    []ledger.Then // what else happens in each transaction
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
	return c
}

const (
	group    = "ledger"
	consumer = "reader"
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
	look chan struct{}
}

// partition is one that this sidecar reads.
type partition struct {
	stream  string
	pending bool // what an earlier reader left comes first
	made    bool // the consumer group exists
}

// New makes a Reader. met may be nil.
func New(cfg Config, rdb redis.UniversalClient, l Ledger, owners Owners, log *slog.Logger, met *Metrics) *Reader {
	if met == nil {
		met = NewMetrics(nil)
	}
	return &Reader{cfg: cfg.withDefaults(), rdb: rdb, ledger: l, owners: owners, log: log, met: met, held: map[int]*partition{}, look: make(chan struct{}, 1)}
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
			wait = min(max(2*wait, r.cfg.Poll), 5*time.Second)
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
}

// once reads a batch of every partition held, commits it and acknowledges it.
// It tells how many records that were.
func (r *Reader) once(ctx context.Context) (int, error) {
	entries, err := r.fetch(ctx)
	if err != nil || len(entries) == 0 {
		return 0, err
	}
	if err := r.commit(ctx, entries); err != nil {
		r.again(entries)
		return 0, err
	}
	if err := r.ack(ctx, entries); err != nil {
		r.again(entries)
		return 0, err
	}
	return len(entries), nil
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

// fetch asks every partition in one pipeline that does not block.
func (r *Reader) fetch(ctx context.Context) ([]entry, error) {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Timeout)
	defer cancel()
	r.mu.Lock()
	parts := make([]*partition, 0, len(r.held))
	for _, p := range r.held {
		parts = append(parts, p)
	}
	r.mu.Unlock()
	if len(parts) == 0 {
		return nil, nil
	}
	if err := r.makeGroups(ctx, parts); err != nil {
		return nil, err
	}
	pipe := r.rdb.Pipeline()
	cmds := make([]*redis.XStreamSliceCmd, len(parts))
	from := make([]string, len(parts))
	r.mu.Lock()
	for i, p := range parts {
		from[i] = ">"
		if p.pending {
			from[i] = "0"
		}
		cmds[i] = pipe.XReadGroup(ctx, &redis.XReadGroupArgs{Group: group, Consumer: consumer, Streams: []string{p.stream, from[i]},
			Count: int64(r.cfg.Batch), Block: -1})
	}
	r.mu.Unlock()
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		if redis.HasErrorPrefix(err, "NOGROUP") {
			r.forgetGroups()
		}
		return nil, fmt.Errorf("read outbox: %w", err)
	}
	var out []entry
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, c := range cmds {
		n := 0
		for _, s := range c.Val() {
			for _, m := range s.Messages {
				raw, _ := m.Values["r"].(string)
				out = append(out, entry{stream: s.Stream, id: m.ID, raw: raw})
				n++
			}
		}
		if from[i] == "0" && n == 0 {
			parts[i].pending = false
			poke(r.look)
		}
	}
	return out, nil
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// makeGroups makes the consumer group of streams that have none yet.
func (r *Reader) makeGroups(ctx context.Context, parts []*partition) error {
	pipe := r.rdb.Pipeline()
	var made []*partition
	for _, p := range parts {
		if !p.made {
			pipe.XGroupCreateMkStream(ctx, p.stream, group, "0")
			made = append(made, p)
		}
	}
	if len(made) == 0 {
		return nil
	}
	cmds, err := pipe.Exec(ctx)
	for i, c := range cmds {
		if e := c.Err(); e == nil || redis.HasErrorPrefix(e, "BUSYGROUP") {
			made[i].made = true
			continue
		}
		return fmt.Errorf("make consumer group: %w", c.Err())
	}
	if len(cmds) < len(made) {
		return fmt.Errorf("make consumer groups: %w", err)
	}
	return nil
}

// forgetGroups has the groups made again: Redis has lost some.
func (r *Reader) forgetGroups() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.held {
		p.made = false
	}
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
	oldest := start
	for _, e := range entries {
		if e.raw == "" {
			continue // deleted before: only its acknowledgement was missing
		}
		if t := stamped(e.id); t.Before(oldest) {
			oldest = t
		}
		rec, err := authz.ParseRecord(e.raw)
		if err != nil {
			aside = append(aside, ledger.RefusedRecord{Raw: []byte(e.raw), Reason: err.Error()})
			continue
		}
		records, texts = append(records, rec), append(texts, e.raw)
	}
	r.met.age.Set(start.Sub(oldest).Seconds())
	results, err := r.ledger.Ingest(ctx, records, r.cfg.Then...)
	if err != nil {
		return err
	}
	for i, res := range results {
		if res.Outcome == ledger.Refused {
			aside = append(aside, ledger.RefusedRecord{Raw: []byte(texts[i]), Reason: reason(res.Err)})
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
	r.met.age.Set(0)
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

// stamped is the time in a stream entry's id.
func stamped(id string) time.Time {
	ms, _, _ := strings.Cut(id, "-")
	n, err := strconv.ParseInt(ms, 10, 64)
	if err != nil {
		return time.Now()
	}
	return time.UnixMilli(n)
}

// ack forgets what the ledger has, in one pipeline.
func (r *Reader) ack(ctx context.Context, entries []entry) error {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Timeout)
	defer cancel()
	ids := map[string][]string{}
	for _, e := range entries {
		ids[e.stream] = append(ids[e.stream], e.id)
	}
	// Both or neither: one acknowledged but not deleted would be read by nobody
	// and counted for ever.
	pipe := r.rdb.TxPipeline()
	for stream, list := range ids {
		pipe.XAck(ctx, stream, group, list...)
		pipe.XDel(ctx, stream, list...)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("acknowledge outbox: %w", err)
	}
	return nil
}

// count keeps the gauge of waiting records.
func (r *Reader) count(ctx context.Context) {
	t := time.NewTicker(5 * time.Second)
	defer t.Stop()
	for {
		if n, err := r.Waiting(ctx); err == nil {
			r.met.waiting.Set(float64(n))
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}

// Waiting counts the records of all partitions.
func (r *Reader) Waiting(ctx context.Context) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Timeout)
	defer cancel()
	pipe := r.rdb.Pipeline()
	cmds := make([]*redis.IntCmd, len(r.cfg.Streams))
	for i, s := range r.cfg.Streams {
		cmds[i] = pipe.XLen(ctx, s)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return 0, fmt.Errorf("count outbox: %w", err)
	}
	var n int64
	for _, c := range cmds {
		n += c.Val()
	}
	return n, nil
}
