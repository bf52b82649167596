package services

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// SentinelSet is a master with a replica, watched by three Sentinels that promote the replica when the master has
// been silent for a little over a second.
type SentinelSet struct {
	MasterName string   // what the Sentinels call the master
	Addrs      []string // of the Sentinels
	// Master and Replica name the roles at the start; after a failover they are the other way round.
	Master, Replica *RedisServer
	Sentinels       []*RedisServer
}

const (
	sentinelCount = 3
	masterName    = "ringfence"
)

// Sentinel starts a master, its replica and three Sentinels that know each other. The options apply to master and
// replica.
func Sentinel(t testing.TB, options ...Option) *SentinelSet {
	t.Helper()
	set := &SentinelSet{MasterName: masterName}
	set.Master = Redis(t, options...)
	set.Replica = RedisReplica(t, set.Master, options...)
	password := set.Master.settings.password
	if password != "" { // the master becomes a replica one day
		ctx, cancel := context.WithTimeout(context.Background(), readyWithin)
		defer cancel()
		if err := set.Master.client.ConfigSet(ctx, "masterauth", password).Err(); err != nil {
			t.Fatal(err)
		}
	}
	for i := range sentinelCount {
		sentinel := newRedis(t, sentinelOptions(i, set.Master.Port, password)...)
		sentinel.mustStart()
		sentinel.hurry()
		set.Sentinels = append(set.Sentinels, sentinel)
		set.Addrs = append(set.Addrs, sentinel.Addr)
	}
	for _, sentinel := range set.Sentinels {
		Eventually(t, readyWithin, func() error {
			const complete = "master0:name=%s,status=ok,address=%s,slaves=1,sentinels=%d"
			return sentinel.infoHas("sentinel", fmt.Sprintf(complete, masterName, set.Master.Addr, sentinelCount))
		})
	}
	return set
}

// sentinelOptions configures Sentinel number i. The Sentinels lose patience one after the other and a quorum of one
// starts a failover, so that usually the first asks for votes alone. All at once, as on one machine they would, they
// vote each for themselves and try again seconds later. Electing a leader takes two of three all the same.
func sentinelOptions(i, masterPort int, password string) []Option {
	options := []Option{
		func(s *redisSettings) { s.args = []string{"--sentinel"} },
		Config("sentinel announce-ip 127.0.0.1"),
		Config("sentinel monitor", masterName, "127.0.0.1", strconv.Itoa(masterPort), "1"),
		Config("sentinel down-after-milliseconds", masterName, strconv.Itoa(1200+500*i)),
		Config("sentinel failover-timeout", masterName, "2000"),
	}
	if password != "" {
		options = append(options, Config("sentinel auth-pass", masterName, strconv.Quote(password)))
	}
	return options
}

// hurry makes a Sentinel look and talk more often than its usual second or more (ten for INFO). That shortens discovery
// and failover, and leaves several pings within the time after which the master counts as down: at the default rate
// one late pong starts a failover too many. A ping period below 200 ms would be too much of it: a replica is promoted
// only if its INFO is no older than five ping periods, and while its master is down it is asked for it once a second.
func (s *RedisServer) hurry() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), readyWithin)
	defer cancel()
	err := s.client.Do(ctx, "SENTINEL", "DEBUG",
		"ping-period", 300, "info-period", 200, "ask-period", 200, "publish-period", 200).Err()
	if err != nil {
		s.t.Fatalf("quicken sentinel %s: %v", s.Addr, err)
	}
}

// MasterAddr asks the Sentinels for the master's present address. It returns an error while no Sentinel answers.
func (set *SentinelSet) MasterAddr() (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	var failures []error
	for _, sentinel := range set.Sentinels {
		address, err := sentinel.client.Do(ctx, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", set.MasterName).StringSlice()
		if err == nil && len(address) == 2 {
			return address[0] + ":" + address[1], nil
		}
		failures = append(failures, fmt.Errorf("sentinel %s answered %q: %w", sentinel.Addr, address, err))
	}
	return "", errors.Join(failures...)
}

// Cluster is a Redis Cluster of three masters without replicas, which share all slots evenly.
type Cluster struct {
	Nodes []*RedisServer
	Addrs []string
}

const (
	clusterNodes = 3
	clusterSlots = 16384
)

// RedisCluster starts a Redis Cluster and returns when every node sees it complete.
func RedisCluster(t testing.TB, options ...Option) *Cluster {
	t.Helper()
	cluster := &Cluster{}
	ctx, cancel := context.WithTimeout(context.Background(), readyWithin)
	defer cancel()
	for i := range clusterNodes {
		node := Redis(t, append([]Option{
			Config("cluster-enabled", "yes"),
			Config("cluster-port", strconv.Itoa(FreePort(t))),
			Config("cluster-node-timeout", "2000"),
		}, options...)...)
		cluster.Nodes = append(cluster.Nodes, node)
		cluster.Addrs = append(cluster.Addrs, node.Addr)

		from, to := i*clusterSlots/clusterNodes, (i+1)*clusterSlots/clusterNodes-1
		if err := node.client.ClusterAddSlotsRange(ctx, from, to).Err(); err != nil {
			t.Fatalf("give slots %d to %d to %s: %v", from, to, node.Addr, err)
		}
		// Distinct epochs spare the nodes the time to settle a tie among equals.
		if err := node.client.Do(ctx, "CLUSTER", "SET-CONFIG-EPOCH", i+1).Err(); err != nil {
			t.Fatalf("set the epoch of %s: %v", node.Addr, err)
		}
	}
	first := cluster.Nodes[0]
	for _, node := range cluster.Nodes[1:] {
		meet := first.client.Do(ctx, "CLUSTER", "MEET", "127.0.0.1", node.Port, node.clusterPort())
		if err := meet.Err(); err != nil {
			t.Fatalf("introduce %s to %s: %v", node.Addr, first.Addr, err)
		}
	}
	for _, node := range cluster.Nodes {
		Eventually(t, readyWithin, node.clusterComplete)
	}
	return cluster
}

// Client returns a cluster client, closed when the test ends.
func (c *Cluster) Client(t testing.TB) *redis.ClusterClient {
	t.Helper()
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: c.Addrs})
	t.Cleanup(func() { _ = client.Close() }) // only fails when closed before
	return client
}

// clusterPort is the port that nodes talk to each other on.
func (s *RedisServer) clusterPort() string {
	for _, line := range s.settings.lines {
		if port, ok := strings.CutPrefix(line, "cluster-port "); ok {
			return port
		}
	}
	return strconv.Itoa(s.Port + 10000) // Redis' own rule
}

// clusterComplete returns an error unless this node sees all slots served and all nodes.
func (s *RedisServer) clusterComplete() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	text, err := s.client.ClusterInfo(ctx).Result()
	if err != nil {
		return err
	}
	for _, want := range []string{"cluster_state:ok", "cluster_slots_ok:" + strconv.Itoa(clusterSlots),
		"cluster_known_nodes:" + strconv.Itoa(clusterNodes)} {
		if !strings.Contains(text, want+"\r\n") {
			return fmt.Errorf("%s: CLUSTER INFO has no %s:\n%s", s.Addr, want, text)
		}
	}
	return nil
}
