package balance

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/hmsovereign/ringfence/authz"
)

// Filled tells of each partition whether it is what it was filled to be.
func (s *Store) Filled(ctx context.Context) ([]authz.Fill, error) {
	ops := make([]*op, s.partitions)
	for i, t := range s.tags {
		ops[i] = newOp(ctx, s.scripts.filled)
		ops[i].argv = command(s.scripts.filled, []string{t + "filled", t + "guard"}, []any{"", 0})
	}
	s.pipe.send(ctx, ops)
	out := make([]authz.Fill, s.partitions)
	var first error
	for i, o := range ops {
		v, err := o.result()
		r, err := parseReply(s.scripts.filled.name, v, err)
		if err != nil && first == nil {
			first = err
		}
		out[i] = authz.Fill(r.int(1))
	}
	return out, first
}

// BeginRebuild makes the caller the one who rebuilds a partition, under a token
// that fences off whoever did before.
func (s *Store) BeginRebuild(ctx context.Context, partition int) (token string, err error) {
	u, err := uuid.NewRandom()
	if err != nil {
		return "", fmt.Errorf("begin rebuild: %w", err)
	}
	_, err = s.run(ctx, s.scripts.begin, []string{s.tags[partition] + "guard"}, u.String())
	return u.String(), err
}

// MarkFilled says that a partition has been filled from the ledger. Errors:
// authz.ErrFenced (another rebuild began, or Redis failed over meanwhile), ErrDown.
func (s *Store) MarkFilled(ctx context.Context, partition int, token string, now int64) error {
	t := s.tags[partition]
	_, err := s.run(ctx, s.scripts.filled, []string{t + "filled", t + "guard"}, token, now)
	return err
}

// guarded are the keys of a script that a rebuild's token guards.
func (s *Store) guarded(account string) []string {
	return []string{s.accountKey(account), s.tag(account) + "guard"}
}

// Shut takes an account's books away, so that nothing moves its credit until it
// is rebuilt or reopened. It tells whether there were any. Errors: authz.ErrFenced, ErrDown.
func (s *Store) Shut(ctx context.Context, account, token string) (bool, error) {
	r, err := s.run(ctx, s.scripts.shut, s.guarded(account), token)
	return r.int(1) == 1, err
}

// Reopen gives an account that was shut its books back, as they were. Errors:
// authz.ErrFenced, ErrDown.
func (s *Store) Reopen(ctx context.Context, account, token string) error {
	_, err := s.run(ctx, s.scripts.reopen, s.guarded(account), token)
	return err
}

// buryMost is how many calls one script writes: Redis does nothing else meanwhile.
const buryMost = 250

// Bury writes what the ledger knows of calls, while their account is shut.
// Errors: authz.ErrFenced, ErrDown.
func (s *Store) Bury(ctx context.Context, account, token string, calls []authz.Burial) error {
	for len(calls) > 0 {
		n := min(len(calls), buryMost)
		args := make([]any, 0, 1+2*n)
		args = append(args, token)
		for _, b := range calls[:n] {
			text := ""
			if b.Call != nil {
				text = string(b.Call.AppendCall(nil))
			}
			args = append(args, field(b.Key), text)
		}
		calls = calls[n:]
		r, err := s.run(ctx, s.scripts.bury, s.guarded(account), args...)
		if err != nil {
			return err
		}
		if r.str(0) != "" {
			return fmt.Errorf("bury: account %s is open: %w", account, authz.ErrFenced)
		}
	}
	return nil
}

// Rebuild writes a missing or shut account anew from the ledger's sums, and gives
// its base: the seq above which its records are in these books. An account that
// is there stays, and 0 is given. Errors: authz.ErrFenced, ErrDown.
func (s *Store) Rebuild(ctx context.Context, b authz.Rebuild) (base int64, err error) {
	t := s.tag(b.Account)
	r, err := s.run(ctx, s.scripts.rebuild, []string{s.accountKey(b.Account), t + "accounts", t + "guard", t + "rebuilt"},
		b.Account, string(b.Status), b.Day, int64(b.SpentDay), int64(b.Granted), b.GrantSeq, int64(b.Settled), b.Seq, b.OpensAt, b.Token)
	return r.int(1), err
}

// Bases are the bases of those of the accounts that were ever rebuilt.
func (s *Store) Bases(ctx context.Context, accounts []string) (map[string]int64, error) {
	pipe := s.rdb.Pipeline()
	cmds := make([]*redis.StringCmd, len(accounts))
	for i, id := range accounts {
		cmds[i] = pipe.HGet(ctx, s.accountKey(id), "base")
	}
	_, _ = pipe.Exec(ctx) // each command has its own error
	out := map[string]int64{}
	for i, c := range cmds {
		n, err := c.Int64()
		switch {
		case err == nil:
			out[accounts[i]] = n
		case !errors.Is(err, redis.Nil):
			return nil, classify("read bases", err)
		}
	}
	return out, nil
}

// Rebuilt tells of each partition what was rebuilt there last; every rebuild of
// an account changes it (” = none ever). A sidecar that sees it change puts
// back what it knows (Restore, Replay).
func (s *Store) Rebuilt(ctx context.Context) ([]string, error) {
	pipe := s.rdb.Pipeline()
	cmds := make([]*redis.StringCmd, s.partitions)
	for i, t := range s.tags {
		cmds[i] = pipe.Get(ctx, t+"rebuilt")
	}
	_, _ = pipe.Exec(ctx) // each command has its own error
	out := make([]string, len(cmds))
	for i, c := range cmds {
		if err := c.Err(); err != nil && !errors.Is(err, redis.Nil) {
			return nil, classify("look for rebuilds", err)
		}
		out[i] = c.Val()
	}
	return out, nil
}

// Restore puts a call back that its owner knows and Redis lost, or brings one
// forward that went back. known is the epoch under which the owner has it; the
// call carries the owner's present one. It tells the epoch under which Redis has
// it now. Errors: authz.ErrCallEnded, ErrLost, ErrDown.
func (s *Store) Restore(ctx context.Context, c authz.Call, known int64) (epoch int64, err error) {
	r, err := s.run(ctx, s.scripts.restore, []string{s.accountKey(c.Account)}, field(c.Key), string(c.AppendCall(nil)), known)
	return r.int(1), err
}

// Replay charges a settled call that Redis lost before the ledger had it; day
// (yyyymmdd, 0 = not known) is when it counts for the spending cap. The caller
// has made sure that neither outbox nor ledger has it. again is its record as it
// is in the outbox now, ” if the charge was there. Errors: authz.ErrLost, ErrDown.
func (s *Store) Replay(ctx context.Context, raw string, day int64) (again string, err error) {
	r, err := authz.ParseRecord(raw)
	if err != nil {
		return "", fmt.Errorf("replay: %w", err)
	}
	tomb := r.Tombstone()
	if parts := strings.SplitN(raw, "\t", authz.RecordFields+1); r.State != authz.StateSettled && len(parts) > authz.RecordFields {
		if err := tomb.ParseTail(parts[authz.RecordFields]); err != nil {
			return "", fmt.Errorf("replay: %w", err)
		}
	}
	rep, err := s.run(ctx, s.scripts.replay, []string{s.accountKey(r.Account), s.outboxKey(r.Account)},
		field(r.Key), authz.UIDText(r.UID), raw, int64(r.Charged()), string(tomb.AppendCall(nil)), r.Seq, day)
	return rep.str(1), err
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

// OutboxWaiting counts the records of one partition that wait for the ledger.
func (s *Store) OutboxWaiting(ctx context.Context, partition int) (int64, error) {
	n, err := s.rdb.XLen(ctx, s.outboxes[partition]).Result()
	if err != nil {
		return 0, classify("outbox length", err)
	}
	return n, nil
}

// OutboxEnd is where a partition's outbox ends now, ” if it is empty.
func (s *Store) OutboxEnd(ctx context.Context, partition int) (string, error) {
	last, err := s.rdb.XRevRangeN(ctx, s.outboxes[partition], "+", "-", 1).Result()
	if err != nil {
		return "", classify("outbox end", err)
	}
	if len(last) == 0 {
		return "", nil
	}
	return last[0].ID, nil
}

// OutboxDrained tells whether the ledger has all that the outbox held up to what
// was its end.
func (s *Store) OutboxDrained(ctx context.Context, partition int, end string) (bool, error) {
	if end == "" {
		return true, nil
	}
	left, err := s.rdb.XRangeN(ctx, s.outboxes[partition], "-", end, 1).Result()
	if err != nil {
		return false, classify("outbox", err)
	}
	return len(left) == 0, nil
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
