package balance_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/balance"
	"github.com/hmsovereign/ringfence/deploy/services"
)

// network is a connection to Redis that can be spoilt.
type network struct {
	*toxiproxy.Proxy
	t testing.TB
}

func newNetwork(t testing.TB, server *services.RedisServer) network {
	t.Helper()
	p := toxiproxy.NewProxy(toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop()), "redis", "127.0.0.1:0", server.Addr)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	return network{p, t}
}

// spoil adds a toxic to what Redis answers; the function it gives takes it away again.
func (n network) spoil(kind, attributes string) (heal func()) {
	n.t.Helper()
	toxic, err := n.Toxics.AddToxicJson(strings.NewReader(fmt.Sprintf(`{"type":%q,"stream":"downstream","attributes":%s}`, kind, attributes)))
	if err != nil {
		n.t.Fatal(err)
	}
	return func() {
		n.t.Helper()
		if err := n.Toxics.RemoveToxic(n.t.Context(), toxic.Name); err != nil {
			n.t.Fatal(err)
		}
	}
}

// TestCutConnectionHoldsOnce: Redis did its work and the answer was lost on the way. The
// asker is told that it is unknown; when it asks again, there is one hold.
func TestCutConnectionHoldsOnce(t *testing.T) {
	t.Parallel()
	for kind, attributes := range map[string]string{
		"limit_data": `{"bytes":9}`,   // in the middle of the answer
		"reset_peer": `{"timeout":0}`, // RST
		"timeout":    `{"timeout":0}`, // nothing, for ever
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			server := services.Redis(t)
			net := newNetwork(t, server)
			r := newRig(t, backendAt("proxied", false, "redis://"+net.Listen), balance.Config{})
			r.authorized("before")
			heal := net.spoil(kind, attributes)
			h := r.hold("a")
			start := time.Now()
			_, err := r.Authorize(r.within(300*time.Millisecond), h)
			r.down(err)
			if took := time.Since(start); took > patience/2 {
				t.Errorf("the asker waited %v, its deadline was 300 ms", took)
			}
			// Redis itself has the hold, or not: unknown is not absent.
			heal()
			r.up()
			r.authorized("a")
			r.has(8*minute, 2*minute, 0)

			r.answered("a")
			r.pass(30)
			heal = net.spoil(kind, attributes)
			_, err = r.Settle(r.within(300*time.Millisecond), authz.End{Key: key("a"), Account: r.account, Now: r.now, ReceivedAt: r.now, EndedAt: r.now, Cause: "16", Day: newYear})
			r.down(err)
			heal()
			r.up()
			same(r, "units", r.settled("a").Units, 30*second)
			r.has(9*minute-30*second, minute, 30*second)
			same(r, "records", len(r.records()), 1)
		})
	}
}

func TestSlowRedisIsWaitedForUpToTheDeadline(t *testing.T) {
	t.Parallel()
	server := services.Redis(t)
	net := newNetwork(t, server)
	r := newRig(t, backendAt("proxied", false, "redis://"+net.Listen), balance.Config{})
	r.authorized("before")
	heal := net.spoil("latency", `{"latency":100}`)
	_, err := r.Authorize(r.within(20*time.Millisecond), r.hold("a"))
	r.down(err)
	_, err = r.Authorize(r.within(patience), r.hold("b"))
	r.must(err)
	heal()
}

func TestUnreachableRedisIsDown(t *testing.T) {
	t.Parallel()
	nobody := fmt.Sprintf("127.0.0.1:%d", services.FreePort(t))
	for _, url := range []string{"redis://" + nobody, "redis+cluster://" + nobody, "redis+sentinel://" + nobody + "/main", "unix:///nowhere/redis.sock",
		"redis://no.such.host.invalid:6379"} {
		t.Run(url[:strings.IndexByte(url, ':')], func(t *testing.T) {
			t.Parallel()
			c, err := balance.Dial(balance.DialConfig{URL: url, Timeout: 250 * time.Millisecond})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = c.Close() })
			s, err := balance.New(c, balance.Config{}, nil)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(s.Close)
			r := &rig{T: t, Store: s, ctx: t.Context(), now: noon, account: "acct"}
			_, err = s.Authorize(t.Context(), r.hold("a"))
			r.down(err)
			r.down(s.Ping(t.Context()))
		})
	}
}

func TestClusterWithoutOneMasterIsDownForItsAccounts(t *testing.T) {
	t.Parallel()
	cluster := services.RedisCluster(t, services.AppendAlways())
	b := backendAt("cluster", false, "redis+cluster://"+strings.Join(cluster.Addrs, ","))
	r := newRig(t, b, balance.Config{})
	slot, err := r.rdb.ClusterKeySlot(r.ctx, r.hash()).Result()
	r.must(err)
	r.authorized("before")
	node := cluster.Nodes[int(slot)*len(cluster.Nodes)/16384]
	node.Kill()
	_, err = r.Authorize(r.within(2*time.Second), r.hold("a"))
	r.down(err)
	// The others notice, and say so: CLUSTERDOWN.
	other := r.elsewhere(slot, len(cluster.Nodes))
	services.Eventually(t, patience, func() error {
		_, err := r.Authorize(r.within(2*time.Second), other)
		r.fails(err, authz.ErrDown, authz.ErrLost)
		if !strings.Contains(err.Error(), "CLUSTERDOWN") {
			return fmt.Errorf("not noticed yet: %w", err)
		}
		return nil
	})
	node.Start()
	r.up()
	services.Eventually(t, patience, func() error { _, err := r.Balance(r.within(time.Second), r.account); return err })
	services.Eventually(t, patience, func() error { _, err := r.Authorize(r.within(time.Second), r.hold("a")); return err })
	r.state("before", authz.StateHeld)
}

// elsewhere is a hold of an account that another master of the cluster keeps.
func (r *rig) elsewhere(slot int64, nodes int) *authz.Hold {
	r.Helper()
	for i := range 1000 {
		account := fmt.Sprintf("elsewhere-%d", i)
		other, err := r.rdb.ClusterKeySlot(r.ctx, fmt.Sprintf("rf:{p%02d}:", balance.Partition(account, r.Partitions()))).Result()
		r.must(err)
		if int(other)*nodes/16384 != int(slot)*nodes/16384 {
			return r.hold("elsewhere", func(h *authz.Hold) { h.Account = account })
		}
	}
	r.Fatal("every account is on one master")
	return nil
}

func TestSentinelFailover(t *testing.T) {
	t.Parallel()
	set := services.Sentinel(t)
	r := newRig(t, backendAt("sentinel", false, "redis+sentinel://"+strings.Join(set.Addrs, ",")+"/"+set.MasterName), balance.Config{})
	r.authorized("a")
	services.Eventually(t, patience, func() error { // replication is asynchronous
		if there, err := set.Replica.Client().HExists(r.ctx, r.hash(), "c:"+key("a").String()).Result(); err != nil || !there {
			return fmt.Errorf("the replica has no hold yet: %w", err)
		}
		return nil
	})
	set.Master.Kill()
	_, err := r.Authorize(r.within(300*time.Millisecond), r.hold("b"))
	r.down(err)
	services.Eventually(t, patience, func() error { _, err := r.Authorize(r.within(500*time.Millisecond), r.hold("b")); return err })
	// The driver's other connections may remember their failures for a second more.
	services.Eventually(t, patience, func() error { _, err := r.Balance(r.ctx, r.account); return err })
	r.state("a", authz.StateHeld)
	r.has(8*minute, 2*minute, 0)
}
