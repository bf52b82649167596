package bench

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hmsovereign/ringfence/cmd/internal/app"
	"github.com/hmsovereign/ringfence/cmd/internal/cli"
	"github.com/hmsovereign/ringfence/config"
	"github.com/hmsovereign/ringfence/deploy/services"
)

func TestMain(m *testing.M) { os.Exit(services.Main(m).Run()) }

const pathAccounts = 100

// sidecar is a whole one of the benchmark's own, on a Redis of its own.
type sidecar struct {
	url      string
	redis    *services.RedisServer
	accounts []string
}

func newSidecar(b *testing.B) *sidecar {
	b.Helper()
	s := &sidecar{redis: services.Redis(b, services.AppendOnly())}
	cfg, err := config.Load("", []string{"RINGFENCE_REDIS_URL=" + s.redis.URL}, map[string]any{
		"hook.deadline": "10s", "redis.timeout": "10s", // however busy the machine is
		"instance": "bench", "data_dir": b.TempDir(), "hook.listen": "127.0.0.1:0", "public.listen": "127.0.0.1:0", "ops.listen": "127.0.0.1:0", "sip.listen": ""})
	if err != nil {
		b.Fatal(err)
	}
	a, err := app.New(b.Context(), cfg, app.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx, context.Background()) }()
	b.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			b.Error(err)
		}
	})
	services.Eventually(b, 30*time.Second, func() error {
		if a.HookAddr() == "" || a.Meter.Epoch() == 0 || !a.Directory.Ready() {
			return fmt.Errorf("not ready yet")
		}
		return nil
	})
	admin, err := cli.Admin{URL: "http://" + a.OpsAddr()}.Client()
	if err != nil {
		b.Fatal(err)
	}
	for i := range pathAccounts {
		id := "bench-" + strconv.Itoa(i)
		if err := admin.EnsureAccount(b.Context(), id, "Load run"); err != nil {
			b.Fatal(err)
		}
		if err := admin.EnsureCredit(b.Context(), id, Credit, "bench"); err != nil {
			b.Fatal(err)
		}
		s.accounts = append(s.accounts, id)
	}
	s.url = "http://" + a.HookAddr()
	return s
}

// used is the CPU time of this process: sidecar and clients.
func used(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkPath is one authorize through all of the sidecar: a connection of the
// hook listener, the authorizer, a pipeline to a real Redis, the meter, the
// journal. Its figures are of the whole process, the little client included.
func BenchmarkPath(b *testing.B) {
	for _, clients := range []int{1, 64} {
		b.Run("c="+strconv.Itoa(clients), func(b *testing.B) {
			s := newSidecar(b)
			conns := make([]*hookClient, clients)
			for i := range conns {
				var err error
				if conns[i], err = dialHook(b.Context(), s.url, ""); err != nil {
					b.Fatal(err)
				}
				defer conns[i].close()
			}
			runtime.GC()
			b.ReportAllocs()
			cpu0, redis0 := used(b), RedisCPU(b.Context(), s.redis.Client())
			var next atomic.Int64
			var wg sync.WaitGroup
			b.ResetTimer()
			for _, c := range conns {
				wg.Go(func() {
					var body []byte
					for n := next.Add(1); n <= int64(b.N); n = next.Add(1) {
						body = append(body[:0], `{"call_id":"bench-m4x7q1-hook-closed-`...)
						body = strconv.AppendInt(body, n, 10)
						body = append(body, `@127.0.0.1","direction":"outbound","switch":"bench","account":"`...)
						body = append(body, s.accounts[n%pathAccounts]...)
						body = append(body, `","from":"+31850835037","to":"+31201234567"}`...)
						status, answer, err := c.post("/v1/authorize", body)
						if err != nil || status != http.StatusOK {
							b.Errorf("authorize: %d %s %v", status, answer, err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.StopTimer()
			cpu1, redis1 := used(b), RedisCPU(b.Context(), s.redis.Client())
			n := float64(b.N)
			b.ReportMetric(float64((cpu1-cpu0).Nanoseconds())/1000/n, "cpu-us/op")
			b.ReportMetric((redis1-redis0)*1e6/n, "redis-us/op")
		})
	}
}
