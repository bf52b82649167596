package bench

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// LiveReport is what a standing load of live calls costs.
type LiveReport struct {
	Calls        int     `json:"calls"`
	Failed       int     `json:"failed"`
	Placed       float64 `json:"placed_per_second"`
	GoHeap       float64 `json:"go_heap_bytes_per_call"`
	RedisMemory  float64 `json:"redis_bytes_per_call"`
	SidecarCores float64 `json:"sidecar_cores"` // while metering, nothing else going on
	RedisCores   float64 `json:"redis_cores"`
	Metered      string  `json:"metered_for"`
}

// Live places so many answered calls, watches what metering them costs for
// cfg.For, and ends them.
func Live(ctx context.Context, cfg Config, calls int) (LiveReport, error) {
	run := strconv.FormatInt(time.Now().UnixMilli(), 36)
	rep := LiveReport{Calls: calls}
	heap0, redis0, err := memory(ctx, cfg)
	if err != nil {
		return rep, err
	}
	fmt.Fprintf(cfg.Out, "placing %d answered calls ...\n", calls)
	start := time.Now()
	failed, err := each(ctx, cfg, calls, func(c *hookClient, n int) error {
		head := `"call_id":"live-` + run + `-` + strconv.Itoa(n) + `@127.0.0.1","direction":"outbound","switch":"bench","account":"` +
			cfg.Accounts[n%len(cfg.Accounts)] + `"`
		status, answer, err := c.post("/v1/authorize", []byte(`{`+head+`,"from":"+31850835037","to":"+31201234567"}`))
		if err == nil && status == http.StatusOK {
			status, answer, err = c.post("/v1/events", []byte(`{"type":"answered",`+head+`}`))
		}
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("the sidecar answered %d: %s", status, answer)
		}
		return err
	})
	if err != nil {
		return rep, err
	}
	rep.Failed = failed
	rep.Placed = float64(calls) / time.Since(start).Seconds()
	heap1, redis1, err := memory(ctx, cfg)
	if err != nil {
		return rep, err
	}
	rep.GoHeap, rep.RedisMemory = (heap1-heap0)/float64(calls), (redis1-redis0)/float64(calls)

	fmt.Fprintf(cfg.Out, "metering them for %s ...\n", cfg.For)
	b := &bench{cfg: cfg}
	s0, r0 := b.cpu(ctx)
	t0 := time.Now()
	select {
	case <-time.After(cfg.For):
	case <-ctx.Done():
	}
	s1, r1 := b.cpu(context.WithoutCancel(ctx))
	took := time.Since(t0).Seconds()
	rep.SidecarCores, rep.RedisCores, rep.Metered = (s1-s0)/took, (r1-r0)/took, time.Since(t0).Round(time.Second).String()

	fmt.Fprintln(cfg.Out, "ending them ...")
	ended, err := each(context.WithoutCancel(ctx), cfg, calls, func(c *hookClient, n int) error {
		status, answer, err := c.post("/v1/events", []byte(`{"type":"ended","call_id":"live-`+run+`-`+strconv.Itoa(n)+
			`@127.0.0.1","direction":"outbound","switch":"bench","account":"`+cfg.Accounts[n%len(cfg.Accounts)]+`"}`))
		if err == nil && status >= 300 {
			err = fmt.Errorf("the sidecar answered %d: %s", status, answer)
		}
		return err
	})
	rep.Failed += ended
	return rep, err
}

// each runs fn for 0..n-1 over cfg.Clients connections and counts failures.
func each(ctx context.Context, cfg Config, n int, fn func(*hookClient, int) error) (failed int, err error) {
	var next, bad atomic.Int64
	var wg sync.WaitGroup
	clients := make([]*hookClient, cfg.Clients)
	for i := range clients {
		if clients[i], err = dialHook(ctx, cfg.Hook, cfg.HookToken); err != nil {
			return 0, err
		}
		defer clients[i].close()
	}
	var once sync.Once
	for _, c := range clients {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				if err := fn(c, i); err != nil {
					bad.Add(1)
					once.Do(func() { fmt.Fprintf(cfg.Out, "  call %d failed: %v\n", i, err) })
				}
			}
		})
	}
	wg.Wait()
	return int(bad.Load()), nil
}

// memory gives the sidecar's live Go heap (after a collection) and Redis' memory.
func memory(ctx context.Context, cfg Config) (heap, rds float64, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, cfg.Ops+"/debug/pprof/heap?gc=1", nil)
	if err != nil {
		return 0, 0, err
	}
	if cfg.OpsToken != "" {
		req.Header.Set("Authorization", "Bearer "+cfg.OpsToken)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, 0, fmt.Errorf("ask the sidecar for a collection: %w", err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return 0, 0, fmt.Errorf("ask the sidecar for a collection: it answered %s", resp.Status)
	}
	if heap, err = scrape(ctx, cfg.Ops, "go_memstats_heap_alloc_bytes"); err != nil {
		return 0, 0, err
	}
	rds, err = usedMemory(ctx, cfg.Redis)
	return heap, rds, err
}

func usedMemory(ctx context.Context, rdb redis.UniversalClient) (float64, error) {
	info, err := rdb.Info(ctx, "memory").Result()
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(info) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), "used_memory:"); ok {
			return strconv.ParseFloat(rest, 64)
		}
	}
	return 0, fmt.Errorf("redis does not tell its memory")
}
