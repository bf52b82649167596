package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/balance"
	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/authz/tariff"
)

// Config says what to measure.
type Config struct {
	Hook       string // http://host:port or unix:///path of the sidecar's hook listener
	Ops        string // http://host:port of its ops listener
	OpsToken   string // its admin token; empty: none
	HookToken  string
	Redis      redis.UniversalClient // the sidecar's own Redis
	Partitions int
	Accounts   []string // open accounts with credit, made by the caller
	Clients    int
	Rate       int // open loop, requests a second; 0 = leave it out
	For        time.Duration
	Out        io.Writer
}

// Phase is what one phase gave.
type Phase struct {
	Name       string  `json:"name"`
	Requests   int     `json:"requests"`
	Errors     int     `json:"errors"`
	PerSecond  float64 `json:"per_second"`
	P50        float64 `json:"p50_us"`
	P99        float64 `json:"p99_us"`
	P999       float64 `json:"p999_us"`
	SidecarCPU float64 `json:"sidecar_cpu_us,omitempty"` // of one request
	RedisCPU   float64 `json:"redis_cpu_us,omitempty"`
}

// Report is what a run gave. Ratios are hook to raw.
type Report struct {
	Clients         int     `json:"clients"`
	Rate            int     `json:"rate,omitempty"`
	Accounts        int     `json:"accounts"`
	Phases          []Phase `json:"phases"`
	ThroughputRatio float64 `json:"throughput_ratio"`
	P50OverRaw      float64 `json:"p50_over_raw_us"` // open loop where there is one
}

// driver makes one request; each client has its own.
type driver interface {
	do(ctx context.Context, client, n int) error
	close()
}

// Run measures and gives back every hold it made.
func Run(ctx context.Context, cfg Config) (Report, error) {
	store, err := balance.New(cfg.Redis, balance.Config{Partitions: cfg.Partitions}, nil)
	if err != nil {
		return Report{}, err
	}
	defer store.Close()
	if err := store.Check(ctx); err != nil {
		return Report{}, err
	}
	b := &bench{cfg: cfg, store: store, run: strconv.FormatInt(time.Now().UnixMilli(), 36)}
	rep := Report{Clients: cfg.Clients, Rate: cfg.Rate, Accounts: len(cfg.Accounts)}
	defer func() {
		fmt.Fprintf(cfg.Out, "giving back the holds of %d calls ...\n", b.placed())
		b.release(context.WithoutCancel(ctx))
	}()
	type step struct {
		name string
		rate int
		make func(context.Context, int) (driver, error)
	}
	loops := [][]step{{{"raw closed", 0, b.raw}, {"hook closed", 0, b.hook}}}
	if cfg.Rate > 0 {
		loops = append(loops, []step{{"raw open", cfg.Rate, b.raw}, {"hook open", cfg.Rate, b.hook}})
	}
	for _, pair := range loops {
		sums := make([]tally, len(pair))
		for round := range rounds {
			for i, s := range pair {
				fmt.Fprintf(cfg.Out, "%s, %d of %d: %s, %d clients ...\n", s.name, round+1, rounds, cfg.For/rounds, cfg.Clients)
				if err := b.phase(ctx, fmt.Sprintf("%s %d", s.name, round), s.rate, s.make, &sums[i]); err != nil {
					return rep, fmt.Errorf("%s: %w", s.name, err)
				}
			}
		}
		for i, s := range pair {
			rep.Phases = append(rep.Phases, sums[i].phase(s.name))
		}
	}
	rep.ThroughputRatio = rep.Phases[1].PerSecond / rep.Phases[0].PerSecond
	last := len(rep.Phases) - 1
	rep.P50OverRaw = rep.Phases[last].P50 - rep.Phases[last-1].P50
	return rep, nil
}

// rounds is into how many parts the time of a phase is cut: raw and hook take
// turns, so that what else the machine does meets both.
const rounds = 4

// tally sums the rounds of a phase.
type tally struct {
	lat            sample
	failed         int
	took           time.Duration
	sidecar, redis float64 // CPU seconds
}

func (t *tally) phase(name string) Phase {
	slices.Sort(t.lat)
	us := func(q float64) float64 { return float64(t.lat.at(q).Nanoseconds()) / 1000 }
	n := float64(len(t.lat))
	p := Phase{Name: name, Requests: len(t.lat), Errors: t.failed, PerSecond: n / t.took.Seconds(), P50: us(.5), P99: us(.99), P999: us(.999)}
	if strings.HasPrefix(name, "hook") {
		p.SidecarCPU = t.sidecar * 1e6 / n
	}
	p.RedisCPU = t.redis * 1e6 / n
	return p
}

type bench struct {
	cfg    Config
	store  *balance.Store
	run    string
	mu     sync.Mutex
	phases []placed
}

// placed remembers which calls a phase made: the ids are numbered.
type placed struct {
	name  string
	sw    string
	count []int // by client
}

func (b *bench) placed() (n int) {
	for _, p := range b.phases {
		for _, c := range p.count {
			n += c
		}
	}
	return n
}

func (b *bench) account(client, n int) string {
	return b.cfg.Accounts[(client*7919+n)%len(b.cfg.Accounts)]
}

func (b *bench) callID(phase string, client, n int) string {
	return "bench-" + b.run + "-" + strings.ReplaceAll(phase, " ", "-") + "-" + strconv.Itoa(client) + "-" + strconv.Itoa(n) + "@127.0.0.1"
}

// phase runs every client for one round.
func (b *bench) phase(ctx context.Context, name string, rate int, make_ func(context.Context, int) (driver, error), sum *tally) error {
	clients := b.cfg.Clients
	drivers := make([]driver, clients)
	for i := range drivers {
		d, err := make_(context.WithValue(ctx, phaseName{}, name), i)
		if err != nil {
			return err
		}
		defer d.close()
		drivers[i] = d
	}
	sidecar0, redis0 := b.cpu(ctx)
	ctx, cancel := context.WithTimeout(ctx, b.cfg.For/rounds)
	defer cancel()
	counts, lat := make([]int, clients), make([]sample, clients)
	var failed atomic.Int64
	var firstErr error
	var once sync.Once
	var wg sync.WaitGroup
	start := time.Now()
	for i, d := range drivers {
		wg.Go(func() {
			mine := make(sample, 0, 1<<14)
			interval := time.Duration(0)
			if rate > 0 {
				interval = time.Second * time.Duration(clients) / time.Duration(rate)
			}
			due := start.Add(interval * time.Duration(i) / time.Duration(clients))
			n := 0
			for ctx.Err() == nil {
				if interval > 0 {
					if wait := time.Until(due); wait > 0 {
						timer := time.NewTimer(wait)
						select {
						case <-timer.C:
						case <-ctx.Done():
							timer.Stop()
							continue
						}
					}
				} else {
					due = time.Now()
				}
				err := d.do(ctx, i, n)
				n++
				if err != nil {
					if ctx.Err() != nil && errors.Is(err, context.DeadlineExceeded) {
						break
					}
					failed.Add(1)
					once.Do(func() { firstErr = err })
				} else {
					mine = append(mine, time.Since(due))
				}
				due = due.Add(interval)
			}
			counts[i], lat[i] = n, mine
		})
	}
	wg.Wait()
	took := time.Since(start)
	sidecar1, redis1 := b.cpu(context.WithoutCancel(ctx))
	b.mu.Lock()
	sw := "bench"
	b.phases = append(b.phases, placed{name, sw, counts})
	b.mu.Unlock()
	if !slices.ContainsFunc(lat, func(l sample) bool { return len(l) > 0 }) {
		return fmt.Errorf("no request succeeded: %w", firstErr)
	}
	if firstErr != nil {
		fmt.Fprintf(b.cfg.Out, "  %d requests failed, the first: %v\n", failed.Load(), firstErr)
	}
	for _, l := range lat {
		sum.lat = append(sum.lat, l...)
	}
	sum.failed += int(failed.Load())
	sum.took += took
	sum.sidecar += sidecar1 - sidecar0
	sum.redis += redis1 - redis0
	return nil
}

type phaseName struct{}

// cpu gives the CPU seconds the sidecar and Redis have used; 0 where unknown.
func (b *bench) cpu(ctx context.Context) (sidecar, redis float64) {
	sidecar, _ = scrape(ctx, b.cfg.Ops, "process_cpu_seconds_total")
	return sidecar, RedisCPU(ctx, b.cfg.Redis)
}

// RedisCPU is the CPU time Redis says it has used, in seconds.
func RedisCPU(ctx context.Context, rdb redis.UniversalClient) (total float64) {
	info, err := rdb.Info(ctx, "cpu").Result()
	if err != nil {
		return 0
	}
	for line := range strings.Lines(info) {
		for _, k := range []string{"used_cpu_sys:", "used_cpu_user:"} {
			if rest, ok := strings.CutPrefix(strings.TrimSpace(line), k); ok {
				x, _ := strconv.ParseFloat(rest, 64)
				total += x
			}
		}
	}
	return total
}

// hookDriver asks the sidecar.
type hookDriver struct {
	b     *bench
	c     *hookClient
	phase string
	buf   []byte
}

func (b *bench) hook(ctx context.Context, _ int) (driver, error) {
	c, err := dialHook(ctx, b.cfg.Hook, b.cfg.HookToken)
	if err != nil {
		return nil, err
	}
	return &hookDriver{b: b, c: c, phase: ctx.Value(phaseName{}).(string)}, nil
}

func (d *hookDriver) close() { d.c.close() }

func (d *hookDriver) do(_ context.Context, client, n int) error {
	b := append(d.buf[:0], `{"call_id":"`...)
	b = append(b, d.b.callID(d.phase, client, n)...)
	b = append(b, `","direction":"outbound","switch":"bench","account":"`...)
	b = append(b, d.b.account(client, n)...)
	b = append(b, `","from":"+31850835037","to":"+31201234567"}`...)
	d.buf = b
	status, answer, err := d.c.post("/v1/authorize", b)
	if err != nil {
		return err
	}
	if status != 200 {
		return fmt.Errorf("the sidecar answered %d: %s", status, answer)
	}
	return nil
}

// rawDriver asks Redis itself, over one connection of its own.
type rawDriver struct {
	b     *bench
	conn  *redis.Client
	all   redis.UniversalClient
	phase string
	price tariff.Price
}

func (b *bench) raw(ctx context.Context, _ int) (driver, error) {
	d := &rawDriver{b: b, all: b.cfg.Redis, phase: ctx.Value(phaseName{}).(string)}
	rate, err := tariff.Default().Lookup(tariff.Outbound, "", "+31201234567")
	if err != nil {
		return nil, err
	}
	d.price = rate.Price
	if one, ok := b.cfg.Redis.(*redis.Client); ok {
		opt := *one.Options()
		opt.PoolSize, opt.MinIdleConns = 1, 1
		d.conn = redis.NewClient(&opt)
		d.all = d.conn
	}
	return d, d.all.ScriptLoad(ctx, b.store.Command(&authz.Hold{Account: "x", Price: d.price}).Source).Err()
}

func (d *rawDriver) close() {
	if d.conn != nil {
		_ = d.conn.Close()
	}
}

func (d *rawDriver) do(ctx context.Context, client, n int) error {
	uid, err := uuid.NewV7()
	if err != nil {
		return err
	}
	now := time.Now().UnixMilli()
	c := d.b.store.Command(&authz.Hold{
		Key: authz.Key{Switch: "bench", Direction: tariff.Outbound, CallID: d.b.callID(d.phase, client, n)}, UID: uid,
		Account: d.b.account(client, n), Hash: "bench", Now: now, Day: 20200101, Price: d.price, MinSeconds: 1, SliceSeconds: 60,
		ExpiresAt: now + 240_000, Detail: authz.Detail{From: "+31850835037", To: "+31201234567", Tariff: "default@1", Currency: "EUR"},
	})
	v, err := d.all.EvalSha(ctx, c.SHA, c.Keys, c.Args...).Slice()
	if err != nil {
		return err
	}
	if code, _ := v[0].(string); code != "" {
		return fmt.Errorf("redis answered %v", code)
	}
	return nil
}

// release gives every hold back and forgets the calls.
func (b *bench) release(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	work := make(chan authz.Release, 256)
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			for r := range work {
				_, _ = b.store.Release(ctx, r)
			}
		})
	}
	for _, p := range b.phases {
		for client, count := range p.count {
			for n := range count {
				work <- authz.Release{Key: authz.Key{Switch: p.sw, Direction: tariff.Outbound, CallID: b.callID(p.name, client, n)},
					Account: b.account(client, n), Now: time.Now().UnixMilli(), Reason: "abandoned"}
			}
		}
	}
	close(work)
	wg.Wait()
}

// Credit is enough for every call a run can place.
const Credit = credit.Units(1_000_000) * credit.PerCredit
