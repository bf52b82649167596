package services

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

func TestRedisComesBackOnItsPort(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		options []Option
		down    func(*RedisServer)
		keeps   bool
	}{
		"killed":                {nil, (*RedisServer).Kill, false},
		"stopped":               {nil, (*RedisServer).Stop, false},
		"stopped, append-only":  {[]Option{AppendOnly()}, (*RedisServer).Stop, true},
		"killed, append-always": {[]Option{AppendAlways()}, (*RedisServer).Kill, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			s := Redis(t, c.options...)
			must(t, s.Client().Set(ctx, "credit", 7, 0).Err())
			pid := s.Pid()

			c.down(s)
			if err := s.Client().Ping(ctx).Err(); err == nil {
				t.Fatal("a server that is down answered")
			}
			if alive(pid) {
				t.Fatalf("process %d is still there", pid)
			}
			s.Start()
			if s.Pid() == pid {
				t.Fatalf("no new process")
			}
			got, err := s.Client().Get(ctx, "credit").Result()
			if c.keeps && (err != nil || got != "7") {
				t.Fatalf("after the restart: %q, %v, want 7", got, err)
			}
			if !c.keeps && !errors.Is(err, redis.Nil) {
				t.Fatalf("after the restart: %q, %v, want nothing", got, err)
			}
		})
	}
}

func TestRedisPausedAnswersNothingAndForgetsNothing(t *testing.T) {
	t.Parallel()
	s := Redis(t)
	must(t, s.Client().Set(t.Context(), "credit", 7, 0).Err())
	s.Pause()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := s.Client().Get(ctx, "credit").Err(); !errors.Is(err, context.DeadlineExceeded) && !os.IsTimeout(err) {
		t.Fatalf("a paused server: %v, want a time-out", err)
	}
	s.Resume()
	Eventually(t, patience, func() error { return s.Client().Get(t.Context(), "credit").Err() })
	s.Pause() // the test's end copes with that
}

func TestRedisOptions(t *testing.T) {
	t.Parallel()
	s := Redis(t, UnixSocket(), Password("not a secret"), MaxMemory("2mb"), Config("databases", "3"))
	ctx := t.Context()

	fromURL, err := redis.ParseURL(s.URL)
	must(t, err)
	for _, options := range []*redis.Options{fromURL, {Network: "unix", Addr: s.Socket, Password: "not a secret"}} {
		client := redis.NewClient(options)
		must(t, client.Ping(ctx).Err())
		must(t, client.Close())
	}
	if err := redis.NewClient(&redis.Options{Addr: s.Addr}).Ping(ctx).Err(); err == nil {
		t.Error("the password is not asked for")
	}
	databases, err := s.Client().ConfigGet(ctx, "databases").Result()
	must(t, err)
	if databases["databases"] != "3" {
		t.Errorf("databases = %v, want 3", databases)
	}
	Eventually(t, patience, func() error {
		if err := s.Client().Append(ctx, "big", string(make([]byte, 1<<18))).Err(); err == nil {
			return errors.New("memory is not limited yet")
		}
		return nil
	})
}

func TestRedisReplicaFollows(t *testing.T) {
	t.Parallel()
	master := Redis(t, Password("not a secret"))
	replica := RedisReplica(t, master)
	must(t, master.Client().Set(t.Context(), "credit", 7, 0).Err())
	Eventually(t, patience, func() error { return replica.Client().Get(t.Context(), "credit").Err() })
	if err := replica.Client().Set(t.Context(), "credit", 8, 0).Err(); err == nil {
		t.Error("a replica let itself be written")
	}
}

func TestSentinelFailsOver(t *testing.T) {
	t.Parallel()
	set := Sentinel(t)
	client := redis.NewFailoverClient(&redis.FailoverOptions{MasterName: set.MasterName, SentinelAddrs: set.Addrs})
	t.Cleanup(func() { must(t, client.Close()) })
	ctx := t.Context()
	must(t, client.Set(ctx, "credit", 7, 0).Err())
	Eventually(t, patience, func() error { return set.Replica.Client().Get(ctx, "credit").Err() })

	set.Master.Kill()
	Eventually(t, patience, func() error {
		master, err := set.MasterAddr()
		if err == nil && master != set.Replica.Addr {
			err = fmt.Errorf("master is %s, want %s", master, set.Replica.Addr)
		}
		return err
	})
	Eventually(t, patience, func() error { return client.Incr(ctx, "credit").Err() })

	set.Master.Start()
	Eventually(t, patience, func() error { return set.Master.infoHas("replication", "role:slave") })
}

func TestClusterServesAllSlotsAndSurvivesARestart(t *testing.T) {
	t.Parallel()
	cluster := RedisCluster(t, AppendAlways())
	client := cluster.Client(t)
	ctx := t.Context()
	used := make(map[int64]bool)
	for i := range 50 {
		key := fmt.Sprintf("rf:{p%02d}:a", i)
		must(t, client.Set(ctx, key, i, 0).Err())
		slot, err := client.ClusterKeySlot(ctx, key).Result()
		must(t, err)
		used[slot*clusterNodes/clusterSlots] = true
	}
	if len(used) != clusterNodes {
		t.Fatalf("the keys met %d of %d nodes", len(used), clusterNodes)
	}
	cluster.Nodes[1].Kill()
	cluster.Nodes[1].Start()
	for _, node := range cluster.Nodes {
		Eventually(t, patience, node.clusterComplete)
	}
	for i := range 50 {
		key := fmt.Sprintf("rf:{p%02d}:a", i)
		Eventually(t, patience, func() error { return client.Get(ctx, key).Err() })
	}
}

func TestRedisSaysWhyItDoesNotStart(t *testing.T) {
	t.Parallel()
	s := newRedis(t, Config("no-such-directive", "1"))
	err := s.start()
	if !errors.Is(err, errExited) {
		t.Fatalf("start: %v, want %v", err, errExited)
	}
	wantText(t, err.Error(), "no-such-directive") // from its log
}

func TestRedisStartedTwiceIsRefused(t *testing.T) {
	t.Parallel()
	s := Redis(t)
	if err := s.start(); err == nil {
		t.Fatal("a second start went through")
	}
	must(t, s.Client().Ping(t.Context()).Err())
}

func TestDirectoriesGoWithTheTest(t *testing.T) {
	t.Parallel()
	var dir, socket string
	var pid int
	t.Run("server", func(t *testing.T) {
		s := Redis(t, UnixSocket(), AppendOnly())
		dir, socket, pid = s.Dir, s.Socket, s.Pid()
	})
	for _, path := range []string{dir, socket} {
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v, want it gone", path, err)
		}
	}
	if alive(pid) {
		t.Errorf("process %d is still there", pid)
	}
}
