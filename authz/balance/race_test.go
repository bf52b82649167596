package balance_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/balance"
	"github.com/hmsovereign/ringfence/deploy/services"
)

const (
	racers       = 64 // goroutines of each sidecar
	callsOfRacer = 3
	slices       = 100 // that the credit pays for
)

// race lets racers ask one store for calls that each need a whole slice, and
// tells how many were allowed.
func race(ctx context.Context, s *balance.Store, account, name string) (int64, error) {
	var allowed atomic.Int64
	var wg sync.WaitGroup
	errs := make(chan error, racers)
	for g := range racers {
		wg.Go(func() {
			for i := range callsOfRacer {
				uid, err := uuid.NewV7()
				if err != nil {
					errs <- err
					return
				}
				held, err := s.Authorize(ctx, &authz.Hold{Key: authz.Key{Switch: name, Direction: authz.Outbound, CallID: fmt.Sprintf("%d-%d", g, i)}, UID: uid,
					Account: account, Hash: "1", Now: noon, Day: newYear, Epoch: 1, Price: base, MinSeconds: 60, SliceSeconds: 60, ExpiresAt: noon + 240_000})
				switch {
				case err != nil:
					errs <- err
					return
				case held.Denied == "":
					allowed.Add(1)
				case held.Denied != authz.CodeInsufficientCredits:
					errs <- fmt.Errorf("denied: %s", held.Denied)
					return
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	return allowed.Load(), <-errs
}

// exactly checks that the credit was given out to the last slice and no further.
func exactly(r *rig, allowed int64) {
	r.Helper()
	if allowed != slices {
		r.Errorf("%d calls were allowed on credit for %d", allowed, slices)
	}
	r.has(0, slices*minute, 0)
	same(r, "calls", r.balanced().Calls, slices)
}

func raceOfStores(t *testing.T, b backend) {
	r := newRig(t, b, cfg)
	r.credit((slices - 10) * minute)
	var wg sync.WaitGroup
	var allowed atomic.Int64
	for i := range 3 {
		s := b.store(t, cfg)
		wg.Go(func() {
			n, err := race(r.ctx, s, r.account, "sidecar-"+strconv.Itoa(i))
			if err != nil {
				t.Error(err)
			}
			allowed.Add(n)
		})
	}
	wg.Wait()
	exactly(r, allowed.Load())
}

func TestRaceOfStoresRedis(t *testing.T)     { t.Parallel(); raceOfStores(t, onRedis(t)) }
func TestRaceOfStoresMiniredis(t *testing.T) { t.Parallel(); raceOfStores(t, onMiniredis(t)) }
func TestRaceOfStoresCluster(t *testing.T)   { t.Parallel(); raceOfStores(t, onCluster(t)) }

// The environment by which the test binary becomes a sidecar.
const (
	sidecarRedis   = "RINGFENCE_TEST_SIDECAR_REDIS"
	sidecarAccount = "RINGFENCE_TEST_SIDECAR_ACCOUNT"
)

// sidecar says that it is ready, waits for a line to start at, and prints how
// many calls it was allowed.
func sidecar(addr, account string, in io.Reader, out, log io.Writer) int {
	fail := func(err error) int {
		fmt.Fprintln(log, err)
		return 1
	}
	rdb, err := balance.Dial(balance.DialConfig{URL: "redis://" + addr, Timeout: 5 * time.Second})
	if err != nil {
		return fail(err)
	}
	defer rdb.Close()
	s, err := balance.New(rdb, balance.Config{RejectedPerMinute: rejectedPerMinute, Timeout: 5 * time.Second}, nil)
	if err != nil {
		return fail(err)
	}
	defer s.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := s.Ping(ctx); err != nil {
		return fail(err)
	}
	fmt.Fprintln(out, "ready")
	if _, err := bufio.NewReader(in).ReadString('\n'); err != nil {
		return fail(err)
	}
	allowed, err := race(ctx, s, account, "sidecar-"+strconv.Itoa(os.Getpid()))
	if err != nil {
		return fail(err)
	}
	fmt.Fprintln(out, allowed)
	return 0
}

// TestRaceOfProcesses is the race as it is run in the field: three sidecars, one Redis.
func TestRaceOfProcesses(t *testing.T) {
	t.Parallel()
	server := services.Redis(t)
	r := newRig(t, on(server), balance.Config{})
	r.credit((slices - 10) * minute)
	self, err := os.Executable()
	r.must(err)
	type child struct {
		cmd *exec.Cmd
		in  io.WriteCloser
		out *bufio.Reader
		log strings.Builder
	}
	var children []*child
	for range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		t.Cleanup(cancel)
		c := &child{cmd: exec.CommandContext(ctx, self)}
		c.cmd.Env = append(os.Environ(), sidecarRedis+"="+server.Addr, sidecarAccount+"="+r.account)
		c.cmd.Stderr = &c.log
		c.in, err = c.cmd.StdinPipe()
		r.must(err)
		out, err := c.cmd.StdoutPipe()
		r.must(err)
		c.out = bufio.NewReader(out)
		r.must(c.cmd.Start())
		children = append(children, c)
	}
	line := func(c *child) string {
		text, err := c.out.ReadString('\n')
		if err != nil {
			t.Fatalf("sidecar %d: %v: %s", c.cmd.Process.Pid, err, c.log.String())
		}
		return strings.TrimSpace(text)
	}
	for _, c := range children {
		same(r, "sidecar", line(c), "ready")
	}
	for _, c := range children {
		_, err := io.WriteString(c.in, "go\n")
		r.must(err)
	}
	var allowed int64
	for _, c := range children {
		n, err := strconv.ParseInt(line(c), 10, 64)
		r.must(err)
		allowed += n
		r.must(c.cmd.Wait())
		if n == slices {
			t.Logf("sidecar %d had all of it: the others came too late for a race", c.cmd.Process.Pid)
		}
	}
	exactly(r, allowed)
}
