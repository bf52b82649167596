package balance

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/redis/go-redis/v9"

	"github.com/hmsovereign/ringfence/authz"
)

// rebuildsField counts rebuilds in the sidecars' hash: each sidecar watches it
// and puts back what it knows when it moves.
const rebuildsField = "rebuilds"

// Rebuild writes an account anew from the ledger's sums. It tells whether it
// did: an account that is there stays, unless force is given. Errors: authz.ErrDown.
func (s *Store) Rebuild(ctx context.Context, b authz.Rebuild) (done bool, err error) {
	force := ""
	if b.Force {
		force = "1"
	}
	args := []any{b.Account, string(b.Status), b.Day, int64(b.SpentDay), int64(b.Granted), b.GrantSeq, int64(b.Settled), b.Seq, b.OpensAt, force}
	for _, u := range b.SettledCalls {
		args = append(args, authz.UIDText(u))
	}
	r, err := s.run(ctx, s.scripts.rebuild, []string{s.accountKey(b.Account), s.accountsKey(Partition(b.Account, s.partitions))}, args...)
	if err != nil {
		return false, err
	}
	return r.str(0) == "", nil
}

// Restore puts a live call back after a rebuild. One that is there stays.
// Errors: authz.ErrLost, ErrDown.
func (s *Store) Restore(ctx context.Context, c authz.Call) error {
	_, err := s.run(ctx, s.scripts.restore, []string{s.accountKey(c.Account)}, field(c.Key), string(c.AppendCall(nil)))
	return err
}

// Replay charges a settled call that Redis lost before the ledger had it.
// Errors: authz.ErrLost, ErrDown.
func (s *Store) Replay(ctx context.Context, raw string) error {
	r, err := authz.ParseRecord(raw)
	if err != nil {
		return fmt.Errorf("replay: %w", err)
	}
	tomb := authz.Call{Key: r.Key, Account: r.Account, UID: r.UID, State: r.State, Flags: r.Flags, Epoch: r.Epoch, CreatedAt: r.CreatedAt,
		ExpiresAt: r.CreatedAt, AnsweredAt: r.AnsweredAt, OverAt: max(r.At, r.CreatedAt), Charged: r.Charged(), ExtraMicros: r.ExtraMicros,
		Price: r.Price, MaxSeconds: r.MaxSeconds}
	_, err = s.run(ctx, s.scripts.replay, []string{s.accountKey(r.Account), s.outboxKey(r.Account)},
		field(r.Key), authz.UIDText(r.UID), raw, int64(r.Charged()), string(tomb.AppendCall(nil)))
	return err
}

// Missing tells which of these accounts Redis has not got, in one round trip.
func (s *Store) Missing(ctx context.Context, accounts []string) ([]string, error) {
	pipe := s.rdb.Pipeline()
	cmds := make([]*redis.BoolCmd, len(accounts))
	for i, id := range accounts {
		cmds[i] = pipe.HExists(ctx, s.accountKey(id), "books")
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, classify("look for accounts", err)
	}
	var out []string
	for i, c := range cmds {
		if !c.Val() {
			out = append(out, accounts[i])
		}
	}
	return out, nil
}

// Filled tells of each partition whether it carries the mark of having been
// filled from the ledger; one without was lost, or never was.
func (s *Store) Filled(ctx context.Context) ([]bool, error) {
	pipe := s.rdb.Pipeline()
	cmds := make([]*redis.IntCmd, s.partitions)
	for i := range cmds {
		cmds[i] = pipe.Exists(ctx, s.tags[i]+"filled")
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, classify("look for partitions", err)
	}
	out := make([]bool, len(cmds))
	for i, c := range cmds {
		out[i] = c.Val() == 1
	}
	return out, nil
}

// MarkFilled says that a partition has been filled from the ledger.
func (s *Store) MarkFilled(ctx context.Context, partition int, now int64) error {
	if err := s.rdb.Set(ctx, s.tags[partition]+"filled", now, 0).Err(); err != nil {
		return classify("mark partition", err)
	}
	return nil
}

// AnnounceRebuild has every sidecar put back what it knows.
func (s *Store) AnnounceRebuild(ctx context.Context) error {
	if err := s.rdb.HIncrBy(ctx, sidecarsKey, rebuildsField, 1).Err(); err != nil {
		return classify("announce rebuild", err)
	}
	return nil
}

// Rebuilds counts the rebuilds announced so far.
func (s *Store) Rebuilds(ctx context.Context) (int64, error) {
	v, err := s.rdb.HGet(ctx, sidecarsKey, rebuildsField).Result()
	if errors.Is(err, redis.Nil) {
		return 0, nil
	}
	if err != nil {
		return 0, classify("look for rebuilds", err)
	}
	return strconv.ParseInt(v, 10, 64)
}

// OutboxWaiting counts the records of one partition that wait for the ledger.
func (s *Store) OutboxWaiting(ctx context.Context, partition int) (int64, error) {
	n, err := s.rdb.XLen(ctx, s.outboxes[partition]).Result()
	if err != nil {
		return 0, classify("outbox length", err)
	}
	return n, nil
}

// PartitionOf tells where an account lives.
func (s *Store) PartitionOf(account string) int { return Partition(account, s.partitions) }

// WaitingRecords gives the outbox records of an account that wait for the
// ledger, oldest first, out of the partition's first 10,000.
func (s *Store) WaitingRecords(ctx context.Context, account string) ([]string, error) {
	msgs, err := s.rdb.XRangeN(ctx, s.outboxKey(account), "-", "+", 10_000).Result()
	if err != nil {
		return nil, classify("read outbox", err)
	}
	var out []string
	for _, m := range msgs {
		if raw, ok := m.Values["r"].(string); ok {
			if r, err := authz.ParseRecord(raw); err == nil && r.Account == account {
				out = append(out, raw)
			}
		}
	}
	return out, nil
}
